"""`lockgate check`: rules for applications, by PEP 3333 and for production."""
