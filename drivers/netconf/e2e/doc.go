// Package e2e has the tests of the driver of switches with real packets.
package e2e
