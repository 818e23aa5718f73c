"""What a trained network is used for: predictions and exports."""
