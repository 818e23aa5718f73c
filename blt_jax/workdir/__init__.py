"""What a work directory holds, and nothing that computes."""
