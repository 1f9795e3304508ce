// Package acl simulates a device that takes access lists as a whole, and has a
// driver of its own for it. It is a simulation for drivertest, with the habits of
// switches and routers behind NETCONF:
//
//   - a list is ordered by sequence number and the first match decides; what nothing
//     matches is dropped, so an empty list drops everything and no list drops nothing;
//   - one call replaces one list, wholly or not at all; a point needs two lists, so a
//     change is two calls, and the device is seen between them;
//   - a list applies where it is bound, and a bound list cannot be deleted;
//   - one list can be bound to a port's direction, so another's list there is in the
//     way, and is not ours to replace;
//   - lists know one protocol or all of them, and source ports.
//
// The port tracks connections: replies to what passed pass by themselves, so its
// meaning is told for first packets only. (Most switches do not; their drivers
// have `stateless-return` to report, which this one leaves out.)
package acl
