"""Steps of more and more Locust users, and the report of them."""
