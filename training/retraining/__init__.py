"""Retraining: uploads and the champion become a challenger."""
