"""Configurations: common.py has the variants, the others a data set each."""
