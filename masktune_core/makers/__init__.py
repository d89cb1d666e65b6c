"""Data sets made from others, in the form in which a user would upload them."""
