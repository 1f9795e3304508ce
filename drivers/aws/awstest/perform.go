package awstest

import (
	"cmp"
	"net/http"
	"strings"
)

// perform does a call with all that can go wrong with it. It panics with
// http.ErrAbortHandler, which closes the connection, if the answer is lost.
func (w *World) perform(c *call, a action) (answer, error) {
	c.seen.Account, c.seen.Region, c.seen.Principal = c.account, c.region, c.who.arn
	c.seen.Mutating = a.mutates
	if !a.mutates {
		return w.perform1(c, a)
	}
	w.turn.Lock()
	defer w.turn.Unlock()
	before, after := w.hooks()
	if before != nil {
		before(c.seen)
	}
	if after != nil {
		defer func() { after(c.seen) }()
	}
	return w.perform1(c, a)
}

func (w *World) hooks() (before, after func(Call)) {
	defer w.lock()()
	return w.faults.before, w.faults.after
}

// perform1 does a call under the lock, and notes what came of it.
func (w *World) perform1(c *call, a action) (out answer, err error) {
	defer w.lock()()
	if a.mutates {
		w.faults.mutations++
	}
	as := w.faults.scripted(c.seen)
	lost := take(w.faults.drop, c.seen.Action) || as.LoseRequest
	if lost {
		c.seen.Code = RequestLost
	} else {
		out, err = w.attempt(c, a, as.Code)
		lost = take(w.faults.lose, c.seen.Action) || as.LoseAnswer
	}
	if err != nil {
		c.seen.Code = asError(err).Code
	}
	c.seen.Lost, c.seen.At = lost, w.now()
	c.seen.N = len(w.calls) + 1
	w.calls = append(w.calls, c.seen)
	if lost {
		panic(http.ErrAbortHandler)
	}
	return out, err
}

func (w *World) attempt(c *call, a action, scripted string) (answer, error) {
	if err := w.authorize(c); err != nil {
		return answer{}, err
	}
	if !w.buckets.take(c.account+" "+c.region+" "+c.bucket(), c.seen.Action, limitOf(c.seen.Service, c.seen.Action, c.wide()), w.now()) {
		switch c.seen.Service {
		case "lambda":
			return answer{}, refuse("TooManyRequestsException", "Rate exceeded")
		case "autoscaling":
			return answer{}, refuse("Throttling", "Rate exceeded")
		}
		return answer{}, refuse("RequestLimitExceeded", "Request limit exceeded.")
	}
	if code := cmp.Or(w.faults.takeFail(c.seen.Action, a.mutates), scripted); code != "" {
		return answer{}, refuse(code, "This failure was asked for.")
	}
	c.in = w.regions[c.region]
	if c.in == nil { // STS is in regions that nobody has anything in
		c.t = newTables()
		return a.run(c)
	}
	dry := c.rest == nil && c.p.flag("DryRun")
	c.seen.DryRun = dry
	if !a.mutates {
		c.t = c.in.view(a.kinds)
		out, err := a.run(c)
		if dry && err == nil {
			err = refuse("DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
		}
		return out, err
	}
	w.vanish(c)
	old := c.in.t
	c.t = old.clone()
	// All or nothing: what a call that is refused has written so far is thrown away.
	out, err := a.run(c)
	switch {
	case dry && (err == nil || !wrongInForm(err)):
		return answer{}, refuse("DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
	case err != nil || dry:
		return answer{}, err
	}
	c.in.t = c.t
	w.written(c.in, a.kinds, old)
	return out, nil
}

// wrongInForm reports whether a dry run tells of an error. A dry run of EC2 looks at
// permissions and parameters, and not at what is there.
func wrongInForm(err error) bool {
	switch code := codeOf(err); code {
	case "MissingParameter", "UnknownParameter", "InvalidParameterValue", "InvalidParameterCombination":
		return true
	default:
		return strings.HasSuffix(code, ".Malformed")
	}
}

// authorize asks IAM. Tags in a call that makes something need a permission of their own.
func (w *World) authorize(c *call) error {
	action := c.seen.Service + ":" + c.seen.Action
	if c.seen.Action == "GetCallerIdentity" {
		return nil // nobody can be denied it
	}
	if c.seen.Action == "AssumeRole" {
		return nil // the role says who may: see assumeRole
	}
	if c.seen.Service == "lambda" {
		action = "lambda:" + c.seen.Action
	}
	resource := "arn:aws:" + c.seen.Service + ":" + c.region + ":" + c.account + ":*"
	if !c.seen.Mutating {
		resource = ""
	}
	if !c.who.allows(action) {
		return denied(c.seen.Service, c.who, action, resource)
	}
	if c.seen.Action == "UpdateFunctionConfiguration" { // Lambda asks EC2 in the caller's name
		for _, a := range []string{"DescribeSecurityGroups", "DescribeSubnets", "DescribeVpcs"} {
			if !c.who.allows("ec2:" + a) {
				return refuse("AccessDeniedException", "Your access has been denied by EC2, please make sure your request credentials have permission to %s for %s. EC2 Error Code: UnauthorizedOperation. EC2 Error Message: You are not authorized to perform this operation.", a, c.rest.function)
			}
		}
	}
	if c.rest == nil && c.p.has("TagSpecification") && !c.who.allows("ec2:CreateTags") {
		return denied("ec2", c.who, "ec2:CreateTags", resource)
	}
	return nil
}

// wide reports whether a describe asks for everything in one answer.
func (c *call) wide() bool {
	if c.rest != nil {
		return false
	}
	for _, p := range []string{"MaxResults", "NextToken", "Filter", "InstanceId", "NetworkInterfaceId", "GroupId", "GroupName"} {
		if c.p.has(p) {
			return false
		}
	}
	return true
}

// bucket names the bucket of a call: wide describes have one of their own.
func (c *call) bucket() string {
	switch {
	case c.rest != nil:
		return "lambda"
	case c.wide():
		return c.seen.Action + " of everything"
	}
	return c.seen.Action
}

// vanish takes away an interface that is to go when its groups are changed.
func (w *World) vanish(c *call) {
	if c.seen.Action != "ModifyNetworkInterfaceAttribute" {
		return
	}
	id := c.seen.Params["NetworkInterfaceId"]
	if !w.faults.vanish[id] || c.in.t.interfaces[id] == nil {
		return
	}
	delete(w.faults.vanish, id)
	t := c.in.t.clone()
	delete(t.interfaces, id)
	c.in.t = t
}
