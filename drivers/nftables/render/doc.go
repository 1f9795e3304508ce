// Package render writes the nftables ruleset that enforces a projected matrix.
//
// The layout is data, not rules: two lookups turn the addresses of a flow into
// class words, one more turns the pair of words into the id of a ruleset, up to
// four turn ruleset, protocol and number into a verdict id, and sets of verdict
// ids permit or deny. The rules are the same for every site of the same shape;
// a change of policy or inventory changes elements only.
//
// The source's word travels in the packet's mark and the destination's in its
// priority, both cleared before the packet goes on. They belong to the packet
// alone. (The conntrack mark would be shared by all packets of a flow, and two
// processors judging two packets of it would read each other's halves.) The
// conntrack mark is written once, with the verdict id.
//
// Where the pairs of all classes are too many for one table, they are spread over
// several class spaces (compile.Layout). A class's word then holds its values in
// all dimensions side by side, and each space looks up a part of the two words
// under masks of its own. A ruleset that decides nothing for a service leads on to
// the next space, with the source's word looked up anew.
//
// Single addresses that are too many for one map are spread over several; see
// shardLimit.
//
// Id spaces are disjoint, because a failed map lookup leaves the mark as it was:
// ruleset ids have bit 0x20000000, verdict ids 0x40000000, what decides one side
// only has both, class words neither, and no id of one can be taken for one of
// another.
package render
