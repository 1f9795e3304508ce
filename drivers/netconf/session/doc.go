// Package session is a NETCONF client session (RFC 6241) over SSH (RFC 6242).
//
// Juniper's go-netconf marshals the rpcs; everything below them is here, as a
// netconf.Transport: the framing of both versions, the check that a reply answers what
// was asked, notifications apart from replies, host keys that are pinned, and a context
// that ends a call against a server that hangs.
//
// A session does one rpc at a time. Once a call has ended without its reply, because
// its context ended, the connection was cut, or the server sent what is not NETCONF, the
// session is over: a reply that came later would answer the wrong question. What was
// asked then may have been done or not (ErrLost); the caller opens a new session and
// reads. A session that Dial returns has answered one rpc.
//
// All text is written by encoding/xml. Configuration and filters are handed over as
// XML; they are refused here unless they are well formed by themselves, so that none
// can end the element that it stands in and begin another.
package session
