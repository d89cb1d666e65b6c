"""What did it rely on?"""
