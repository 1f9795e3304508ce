// Package netconf programs lists on the ports of a switch over NETCONF (RFC 6241).
//
// Where a device hangs comes from the inventory. Each port that a point protects something at
// has lists of ours, of what its device sends and, where a point asks for it, of what it
// receives (pkg/driver/portacl). Lists of others stay; one that is in the way is named, and
// nothing is written.
//
// # The order of a change
//
// A list that changes is a new list under another name, so that a port goes from the old one to
// the new one by its binding alone. On a switch with a candidate everything is one commit. On
// one without, new lists come first, bindings next, and what nothing is bound to last.
//
// # What is on trial
//
// A confirmed commit (RFC 6241 section 8.4) goes back by itself, also if nobody is there. While
// it waits the old lists stay beside the new, and a list that no port has tells by its name
// until when: whoever reads the switch sees that something is on trial. The confirming commit
// takes both away. A switch that cannot do it takes the change at once, and a controller puts
// back what nobody confirms.
//
// A server may answer ok and do nothing, or answer nothing and do it: what counts is what is
// read back.
package netconf
