// Package live keeps one device in step with a site whose assets change one at a
// time, from the event of a source to a transaction on the device, at the cost of
// what the change concerns.
//
// A site is compiled whole, applied and proved whole once. From then on an asset
// that changes is put into its groups by itself, its addresses find their classes
// by themselves, and the device is told of the addresses that moved
// (compile.Tracker, driver.Mover). The proof of such a change reads back what was
// touched, and shows that the device takes each address for what the reference
// evaluator says that it is (prove.Standing); everything else was proved before,
// and nobody has written to the device since.
//
// A change of policies, and an expiry, is told as the entries of the device's tables that
// it concerns, and so is a combination of groups that a table has not seen
// (compile.Amendment, driver.Amender). What the device would hold is proved by addresses
// that stand for all whom the change names (prove.Witnesses), before it is made; what
// was touched is read back after it.
//
// Once a day the device is read and proved whole, whatever its generation says.
//
// What cannot be followed so (other groups, a policy that no table takes, a combination
// of groups that the tables have no words for, somebody else's write) is compiled,
// diffed, applied and proved whole. Nothing is guessed: every part says when it does not know.
package live
