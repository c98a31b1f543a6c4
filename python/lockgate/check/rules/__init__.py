"""The rules of `lockgate check`, one module for each subject, one function for each rule."""
