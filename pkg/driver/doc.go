// Package driver is the contract between the controller and the plugins that
// program one kind of enforcement point each.
//
// A driver reads a device's native state, plans the change from that state to a
// desired one, applies a planned change, and decodes native state into packet
// sets. Only Read and Apply do I/O. Planning is pure. Decoding is written from
// the device's semantics and shares no code with rendering, so that a mistake
// in one is found by the other. drivertest holds every driver to the contract.
package driver
