// Package nftables is the driver for the Linux kernel's own firewall: gateways
// (transit points) and hosts (endpoint points).
//
// How our objects are recognised after a restart with no memory: everything of a
// site lies in one table, inet bulkhead_SITE. Which id stands for what is read
// back from it: classes by their addresses, rulesets by their contents, verdicts
// by the comment of their element. Nothing outside of that table is ever written,
// but for the conntrack marks 0x42xxxxxx and 0x43xxxxxx.
//
// The parts share nothing but package ruleset, the state as a value: render
// writes one, kernel reads and commits one, decode gives one its meaning. decode
// and render do not import each other; a test holds them to that.
package nftables
