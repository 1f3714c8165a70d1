"""Promotion: whether a challenger may take the champion's place."""
