// Package yuma runs a real NETCONF server for tests: netconfd of yuma123 behind OpenSSH,
// on the loopback, in a directory of its own (packages netconfd and openssh-server; root,
// because sshd lets only root log in as somebody else than who runs it).
//
// netconfd stores configuration and does nothing with it. What it accepts is what the
// module in this package says, a part of RFC 8519's, and ietf-interfaces that netconfd
// brings: an interface that a list is bound to must be in the configuration.
//
//	s, err := yuma.Start(yuma.Options{Running: yuma.Interfaces("swp1")})
//	defer s.Close()
//	... s.Address(), s.User(), s.Key(), s.KnownHost() ...
//
// There is no port of sshd's: the package listens, and hands each connection to an sshd
// of its own, so that nobody can take the port in between.
package yuma
