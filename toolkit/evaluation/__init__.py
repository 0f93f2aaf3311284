"""Two models side by side: their answers asked for on the same terms, recorded, read against facts, and compared."""
