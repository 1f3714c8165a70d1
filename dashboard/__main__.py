"""`python -m dashboard`: as `dermserve-dashboard`."""

from dashboard.launch import main

main()
