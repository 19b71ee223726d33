"""Pretrained networks of others that label and measure; tools of training and evaluation, never of the product."""
