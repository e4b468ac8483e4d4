"""What a system reached: scores of a trial list, result rows and the tables made of them."""
