package awstest

// portsMatter reports whether rules of a protocol, as EC2 echoes it, have ports.
func portsMatter(protocol string) bool {
	switch protocol {
	case "tcp", "udp", "icmp", "icmpv6":
		return true
	}
	return false
}

type idempotent struct{ id, asked string }

// hides reports whether a group is so new that a call that names it does not find it,
// and counts the call.
func (w *World) hides(group string) bool {
	if w.faults.hidden[group] == 0 {
		return false
	}
	w.faults.hidden[group]--
	return true
}
