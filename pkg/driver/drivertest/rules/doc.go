// Package rules simulates a device that is programmed rule by rule, and has a
// driver of its own for it. It is a simulation for drivertest, with the habits of
// cloud security groups that make a driver hard to write:
//
//   - rules only allow; there is no deny and no order, the union of all rules of all
//     groups on a port holds, so a deny must be compiled away by exact subtraction;
//   - each rule is added and removed by a call of its own, and a change is as many
//     calls as it has rules: the device is seen half changed by everybody;
//   - rules have ids that the device gives, and no rule can be there twice;
//   - a group takes a limited number of rules;
//   - rules know no source ports, so what depends on one is a residue.
//
// # What the device does
//
// A port has filters and groups. A filter names a prefix: a packet at either hook
// of the port with an end in it is judged, and one with neither end in any filter
// passes. A listening filter judges only what comes in for the prefix. A judged
// packet passes if a rule of any group on the port matches it by hook, source,
// destination, protocol and number, and is dropped otherwise. The device tracks
// connections: replies to what passed pass by themselves, so its meaning is told
// for first packets only.
//
// Two liberties are taken: a rule may name a run of protocols, and runs of
// addresses where security groups have prefixes. "All but one port" is three rules
// then and not 257, and "all but one host" two and not 160. The limit is tested all
// the same.
package rules
