// Package drivertest is the conformance suite of drivers. Whoever writes a driver
// writes a Factory for it and calls Run; a driver that passes may be trusted with
// a device, and one that does not may not.
//
// The suite is a sequence of desired states. Each is rendered and proved before
// anything is written, applied, read back, decoded and proved again, and planned a
// second time, which must find nothing to do. Between two states the driver value
// is thrown away: a driver has no memory but the device.
//
// # To the author of a new driver
//
// Read the checks in order; each begins with what it demands and why. Where it
// guards against a bug that a real system had, its name bears the bug's number in
// the table of known bugs:
//
//	#1 #2   an empty list was left out of a rule, and the rule then matched everything
//	#5 #10  one family of addresses got the rules of the other, or none
//	#6      an address that moved kept the access of its old owner
//	#7 #8   a restart, or a failed read, was taken for an empty device
//	#9      nested prefixes were removed that were never there
//	#13     rules were revoked before their successors were added
//	#14     what a device cannot express was left out without a word
//
// Give the suite as many hooks of Subject as the device allows; a hook that is
// missing takes the checks that need it away, and Run says which.
//
// The proof is only as good as the decoder. Where the device can judge a packet by
// itself (Subject.Passes), the suite holds the decoder against it; where native
// states can be broken on purpose (Subject.Mutants), it demands that every broken
// one is found, with a packet that the device and policy really disagree on.
//
// Three devices come with the suite, in rules, acl and rows: simulations with the
// habits of equipment that is programmed by single rules, by whole lists, and by
// rows of a table.
package drivertest
