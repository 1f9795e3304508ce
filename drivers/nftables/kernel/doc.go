// Package kernel is the netlink I/O of the nftables driver: it reads a network
// namespace's whole ruleset as a value, commits batches to it atomically, reads
// and marks tracked flows, receives logged packets and notices when somebody
// changes the ruleset. It knows nothing of policies.
//
// # Reading
//
// A read is complete and of one moment, or it is an error. It begins and ends
// with the same ruleset generation, no dump in it was interrupted, and the
// decoder refuses a message that it cannot take apart. Expressions of rules are
// kept as bytes. google/nftables is not used for reading: v0.3.0 drops
// expressions that it does not know, counters and concatenations of sets, the
// data type of verdict maps and catch-all elements.
//
// # Writing
//
// A [Batch] is one transaction. nf_tables works inside sendmsg(2), so that no
// acknowledgement is asked for: when the send has returned, the socket holds the
// errors, and an empty socket means that the transaction is committed.
//
// The constants are those of linux/netfilter/nf_tables.h, nfnetlink.h,
// nfnetlink_conntrack.h and nfnetlink_log.h; those that golang.org/x/sys/unix
// does not have are in const.go.
package kernel
