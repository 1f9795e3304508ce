// Package decode works out what an nftables ruleset lets through, from the
// kernel's semantics alone.
//
// It is one half of the proof, so it never imports the renderer and knows
// nothing of the layout that a renderer chose. It executes the nf_tables
// programs of one table symbolically: the addresses, the service, the source
// port and the incoming interface are symbols that split where a comparison or
// a lookup tells values apart; everything else (registers, marks, connection
// tracking state) is concrete. Nothing is sampled. The result of [Decode] is a
// [driver.Decoded]: for each hook and each tracking situation a partition of
// the sources and of the destinations, and for each pair of classes the exact
// set of services that get through.
//
// What is not modelled, and is reached by some packet, is a finding that keeps
// the proof from being complete; it is never skipped. A construct whose outcome
// cannot be known (a rate limit, a header field outside the model) is executed
// both ways, and is a finding only if the final verdicts differ.
//
// # What is taken from the kernel
//
// Rules (nf_tables_core.c): a failed comparison, lookup or load stops the rule
// (NFT_BREAK) and leaves marks as they were; accept ends one base chain and the
// next one on the path still runs; drop is final; the end of a base chain and
// `return` from it give its policy; goto leaves no return address.
//
// Connection tracking runs at priority -200 in prerouting and output. Before it
// there is no entry: `ct state` is invalid and every other ct load stops the
// rule. The same holds for invalid and untracked packets later
// (nft_ct_get_eval).
//
// ICMP (nf_conntrack_proto_icmp.c): only echo, timestamp, information and
// address mask requests (types 8, 13, 15, 17) make an entry; every other type
// that belongs to no entry is invalid. The tuple's destination part is type and
// code, its source part the identifier; a reply has the type that answers the
// request, and the same code.
//
// ICMPv6 (nf_conntrack_proto_icmpv6.c): echo and node information requests (128,
// 139) make an entry; listener and neighbour discovery (130 to 136, 143) is
// untracked; the rest is invalid. ICMP in IPv6 and ICMPv6 in IPv4 are invalid.
//
// A point of the service line that cannot occur in a situation (an established
// ICMP error, say) carries in that situation's relation what a new packet of it
// gets, so that a relation is total.
//
// # What keeps it affordable
//
// A state holds what a packet carries and never its addresses; words of addresses
// stay functions of them (words.go). Where pairs of classes are too many, they are
// not walked (pending.go). What a dozen situations do alike is executed once: chains
// that are called (calls.go), and the way from a verdict id to the end (tails.go).
// What a table means is kept for the next time that it is decoded (cache.go).
// None of it is an approximation: what is not certain for all services is executed
// step by step. A test holds the effort to the size of the ruleset.
//
// # Limits
//
// A packet has the same addresses and ports in all chains of its path: those that
// the hook sees for which the relation is. Where somebody translates a
// destination, our chains in prerouting that run before that see another one.
//
// Packets are whole and well formed: where a ct expression exists, the kernel
// reassembles fragments before any chain; where none does, a transport header
// load is a finding. IPv6 next header is opaque, since extension headers may
// precede the protocol. The output interface and interface indexes are opaque,
// except that neither is the loopback's, which is part of no relation. The
// source of an address's kind (fib) is opaque. ct loads that address translation
// can change (original destination, reply destination) are opaque. The bytes of
// marks are in this machine's byte order.
package decode
