"""Configurations: common.py has every field, the others what differs."""
