// Package rows simulates a device that is programmed row by row and column by
// column, and has a driver of its own for it. It is a simulation for drivertest,
// with the habits of switches whose filters are conceptual tables behind SNMP:
//
//   - a row is created by its index, its columns are set one after the other, and it
//     means nothing until its status is set to active;
//   - an active row cannot be changed, only destroyed;
//   - active rows decide in order of their index, the first match wins, and what no
//     row matches passes;
//   - the table takes a limited number of rows, active or not;
//   - indexes are shared with everybody else who has rows in the table.
//
// A row holds first-last ranges of addresses, protocols, numbers and source ports.
// The port tracks connections: replies to what passed pass by themselves, so its
// meaning is told for first packets only.
//
// # Changing an ordered table one row at a time
//
// Where rows can only appear and vanish one at a time, a list cannot be turned
// into another in place without saying, in between, what neither list says. So
// the new list goes in as a block before (or after) all rows of the old one, its
// rows from first to last, and then the old rows go from last to first. At every
// moment each packet gets the verdict of the old list or that of the new one:
// while a block grows in front, what it matches has the new verdict and the rest
// the old; while a block shrinks from its end, what it matches has the old one
// and the rest the new. The price is room for both lists.
package rows
