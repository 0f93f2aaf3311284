"""The instruments that the chapters teach, one package each."""
