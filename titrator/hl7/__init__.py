"""HL7 v2: results of a laboratory's feed, over MLLP and over HTTP. docs/hl7.md is its description.

message       a message as segments and fields, by its own separators; the acknowledgement
translate     an ORU^R01 message: what it says of whom, with all its faults. Pure
receiving     messages in, acknowledgements out, once all is stored
http          one message, POSTed
mllp          a process that serves connections that stay open
accepting     the first process, which accepts them and hands them to those
records       what these processes say to each other
"""
