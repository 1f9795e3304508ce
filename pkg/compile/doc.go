// Package compile turns an inventory and a rulebook into the matrix of what
// every class of addresses may open to every other, exactly, and projects it
// onto what one enforcement point sees.
//
// Everything here is a pure function on values. The package shares no code with
// the reference evaluator policy.Decide, against which tests hold it: where
// Decide asks for one address and one service at a time, this package works on
// whole sets.
package compile
