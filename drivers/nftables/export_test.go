package nftables

// LimitSend makes the driver's sockets send at most n bytes at once, as those of an
// ordinary user's namespace do.
func (d *Driver) LimitSend(n int) { d.sendLimit = n }

// AfterPart calls f after each transaction of a load in parts.
func (d *Driver) AfterPart(f func(part int)) { d.afterPart = f }
