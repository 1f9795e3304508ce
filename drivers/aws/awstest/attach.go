package awstest

import "slices"

// tracking are the timeouts of flows through an interface, in seconds; 0 is AWS's own.
type tracking struct{ tcp, stream, udp int }

// trackingOf reads ConnectionTrackingSpecification.
func trackingOf(p params) (t tracking, given bool) {
	q := p.at("ConnectionTrackingSpecification")
	if q.f == nil {
		return t, false
	}
	read := func(name string, least, most int) int {
		n, ok := q.number(name)
		if ok && (n < least || n > most) {
			p.fail("InvalidParameterValue", "%s of %d seconds is not between %d and %d", name, n, least, most)
		}
		return n
	}
	return tracking{read("TcpEstablishedTimeout", 60, 432000), read("UdpStreamTimeout", 60, 180), read("UdpTimeout", 30, 60)}, true
}

func modifyNetworkInterface(c *call) (answer, error) {
	id := c.p.need("NetworkInterfaceId")
	groups := c.p.texts("SecurityGroupId")
	timeouts, timed := trackingOf(c.p)
	described := c.p.has("Description")
	text := c.p.at("Description").str("Value")
	attributes := 0
	for _, given := range []bool{len(groups) > 0, timed, described} {
		if given {
			attributes++
		}
	}
	if err := c.p.done(); err != nil {
		return answer{}, err
	}
	if attributes != 1 {
		// No groups is no attribute: an interface carries at least one, for ever.
		return answer{}, refuse("InvalidParameterCombination", "Exactly one attribute must be specified, and there are %d", attributes)
	}
	i, err := c.interfaceByID(id)
	if err != nil {
		return answer{}, err
	}
	if i.RequesterManaged {
		return answer{}, notYours(i)
	}
	if len(groups) > 0 {
		if err := c.carry(i, groups); err != nil {
			return answer{}, err
		}
		return done()
	}
	edit(c.t.interfaces, id, func(i *Interface) {
		if timed {
			i.timeouts = timeouts
		} else {
			i.Description = text
		}
	})
	return done()
}

func (c *call) interfaceByID(id string) (*Interface, error) {
	if !wellFormed(idInterface, id) {
		return nil, refuse("InvalidNetworkInterfaceId.Malformed", "Invalid id: \"%s\" (expecting \"eni-...\")", id)
	}
	i := c.t.interfaces[id]
	if i == nil || i.Account != c.account {
		return nil, refuse("InvalidNetworkInterfaceID.NotFound", "The networkInterface ID '%s' does not exist", id)
	}
	return i, nil
}

// notYours refuses an interface that a service holds, as that service does.
func notYours(i *Interface) error {
	if i.Type == "lambda" {
		return refuse("OperationNotPermitted", "You are not allowed to manage 'ela-attach' attachments.")
	}
	return refuse("AuthFailure", "You do not have permission to access the specified resource.")
}

// carry gives an interface its groups in place of those it has.
func (c *call) carry(i *Interface, groups []string) error {
	for n, id := range groups {
		if slices.Contains(groups[:n], id) {
			return refuse("InvalidParameterValue", "The security group '%s' is given twice", id)
		}
		g, err := c.groupByID(id)
		if err != nil {
			return err
		}
		if g.VPC != i.VPC {
			return refuse("InvalidGroup.NotFound", "You have specified two resources that belong to different networks.")
		}
	}
	if len(groups) > c.w.quotas(c.account, c.region).GroupsPerInterface {
		return refuse("SecurityGroupsPerInterfaceLimitExceeded", "The maximum number of security groups per interface has been reached.")
	}
	for _, id := range i.Groups {
		if !slices.Contains(groups, id) && c.w.faults.detachLag > 0 && !c.seen.DryRun {
			c.w.faults.detaching[id] = c.w.faults.detachLag
		}
	}
	edit(c.t.interfaces, i.ID, func(i *Interface) { i.Groups = slices.Sorted(slices.Values(groups)) })
	return nil
}

// modifyInstance sets the groups of an instance's only interface. The other attributes
// of an instance are not known here.
func modifyInstance(c *call) (answer, error) {
	id := c.p.need("InstanceId")
	groups := c.p.texts("GroupId")
	if err := c.p.done(); err != nil {
		return answer{}, err
	}
	o := c.t.instances[id]
	switch {
	case !wellFormed(idInstance, id):
		return answer{}, refuse("InvalidInstanceID.Malformed", "Invalid id: \"%s\"", id)
	case o == nil || o.Account != c.account:
		return answer{}, refuse("InvalidInstanceID.NotFound", "The instance ID '%s' does not exist", id)
	case o.State == "terminated" || o.State == "shutting-down":
		return answer{}, refuse("IncorrectInstanceState", "The instance '%s' is not in a state from which it can be modified", id)
	case len(groups) == 0:
		return answer{}, refuse("InvalidParameterCombination", "No attributes specified.")
	}
	of := c.t.of(id)
	if len(of) != 1 {
		return answer{}, refuse("InvalidInstanceID", "There are multiple interfaces attached to instance '%s'. Please specify an interface ID for the operation instead.", id)
	}
	if err := c.carry(of[0], groups); err != nil {
		return answer{}, err
	}
	return done()
}
