"""Which warnings are errors, as PYTHONWARNINGS has them: the last one that fits counts."""

FILTERS = [
    "error::DeprecationWarning",
    "error::PendingDeprecationWarning",
    # Pyramid 2.1 imports pkg_resources, which says this of each package with a namespace.
    "ignore:Deprecated call to `pkg_resources.declare_namespace:DeprecationWarning",
    # An example of Pyramid 2.1, with docutils 0.23.
    'ignore:Argument "writer_name" will be removed in Docutils 2.0:PendingDeprecationWarning',
    # gripcontrol 4.4 and pubcontrol, which signs its requests.
    "ignore:datetime.datetime.utcnow() is deprecated:DeprecationWarning:gripcontrol.gripcontrol",
    "ignore:datetime.datetime.utcnow() is deprecated:DeprecationWarning:pubcontrol.utilities",
    # Tests fork in processes with threads on purpose, as applications do.
    "ignore:This process:DeprecationWarning",
]
