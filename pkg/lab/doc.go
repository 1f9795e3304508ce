// Package lab builds test networks from network namespaces and sends real
// packets through them.
//
// A Topology is a gateway with segments around it and hosts on them. Build lays
// it out over rtnetlink; a Prober sends crafted packets by raw sockets and says of
// each whether its receiver got it, or streams them while something happens to the
// gateway; a Flow is a live connection that one end keeps pushing data over.
//
// What a prober says comes from the receiver's network interface alone, never
// from what the sender was told: a sender hears of some drops, is lied to about
// others, and knows nothing of the rest.
//
// Everything works for root, and for an ordinary user inside the namespaces that
// Sandbox gives a program.
package lab
