"""A generated world of pictures and sentences, each drawn from a seed together with the facts it was drawn from.

Needs only Pillow and NumPy. Seeds: training 0 to 9,999,999; validation 10,000,000 to 10,999,999; shipped samples and
tests 11,000,000 to 19,999,999; everything from 20,000,000 on belongs to whoever wants to check the project.
"""
