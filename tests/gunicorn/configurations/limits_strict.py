limit_request_line = 4094  #: limit_request_line = 4094
limit_request_fields = 50  #: limit_request_fields = 50
limit_request_field_size = 8190  #: limit_request_field_size = 8190
header_map = "refuse"  #: header_map = "refuse"
forwarder_headers = "SCRIPT_NAME,REMOTE_USER"  #: forwarder_headers = ["SCRIPT_NAME", "REMOTE_USER"]
strip_header_spaces = False  #: default
permit_obsolete_folding = False  #: default
casefold_http_method = True  #: ignored
