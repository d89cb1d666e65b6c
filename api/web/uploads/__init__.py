"""What the forms that upload something share."""
