// Package netconftest is a simulated switch: a NETCONF server (RFC 6241) over real SSH on
// the loopback, for tests and for demos that say that it is simulated. No packet passes
// through it. It keeps datastores, and tells a follower what running is (Options.Follow),
// from which a test can program something that forwards.
//
//	s, err := netconftest.Start(netconftest.Options{
//		Keys:     map[string][]string{"/acls/acl": {"name"}, "/acls/acl/aces/ace": {"name"}},
//		Validate: func(config *netconftest.Node) []netconftest.Error { ... },
//	})
//	defer s.Close()
//
// It knows no YANG. Configuration is a tree of elements; Keys says which are lists and
// by which leafs their entries differ ("." for a leaf-list). What a model would forbid
// has to be forbidden by Validate. An element that is no list occurs once; entries of
// lists keep their order, and new ones come last.
//
// It is as strict as yuma123's netconfd 2.13, where it is not stricter: an edit of what
// somebody else has locked is in-use, a lock of a candidate that is dirty is resource-denied, delete
// of what is missing is data-missing, a wrong persist-id is invalid-value, an edit with
// errors changes nothing, yang:insert is refused, malformed XML ends the session, and a
// confirmed commit cannot go back while running is locked. Locks, discards and roll-backs
// at the end of a session are those of the RFC.
//
// Nothing happens by the clock: a confirmed commit's time is up when a test calls Expire.
// Reboot starts again from what was saved. What goes wrong goes wrong when a test says so:
// Next lets one rpc fail in a way (Refuse, Pretend, NoReply, CutAfter, WrongID, ...), and
// HoldLock, DirtyCandidate, ForeignCommit, Lag, Hang, Freeze, LoseFirst, ByteByByte,
// MergeEvents and KeysLast are the surroundings. Before and After run a test's own code
// around an rpc.
package netconftest
