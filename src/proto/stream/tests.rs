//! One direction of a connection, segment by segment.


