import os

here = os.path.dirname(os.path.abspath(__file__))  #: variable
chdir = here  #: chdir = *
pythonpath = ",".join([here, os.path.join(here, "lib")])  #: pythonpath = *
default_proc_name = "paths"  #: ignored
reload = False  #: default
reload_engine = "auto"  #: default
reload_extra_files = []  #: default
spew = False  #: default
check_config = False  #: default
print_config = False  #: default
