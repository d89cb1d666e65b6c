"""What strangers may send: archives, images and checkpoints that mean harm or are broken."""
