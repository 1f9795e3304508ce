// Package packet holds the exact set algebra that everything else stands on:
// sets of addresses of both families, sets of services on one 24-bit line, and
// the partition of the address space by a list of sets.
//
// All sets are immutable values in one canonical form (sorted, disjoint, merged
// where adjacent), so two sets are equal exactly if their runs are equal. All
// operations are linear merges; nothing is approximated.
package packet
