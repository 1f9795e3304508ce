package awstest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// restful is a request of Lambda's API.
type restful struct {
	function string // name or ARN, "" for all
	query    url.Values
	body     []byte
}

// The collection of all functions.
const functionsPath = "/2015-03-31/functions/"

func (w *World) serveLambda(rw http.ResponseWriter, req *http.Request, from caller, body []byte, id string, err error) {
	var out answer
	if err == nil {
		out, err = w.rest(req, from, body)
	}
	rw.Header().Set("Content-Type", "application/json")
	rw.Header().Set("X-Amzn-Requestid", id)
	var v any = out.json
	status := http.StatusOK
	if err != nil {
		e := asError(err)
		rw.Header().Set("X-Amzn-Errortype", e.Code)
		status, v = e.Status, map[string]string{"Type": "User", "Message": e.Message}
	}
	rw.WriteHeader(status)
	b, _ := json.Marshal(v)
	_, _ = rw.Write(b)
}

// rest finds the action of a request and does it.
func (w *World) rest(req *http.Request, from caller, body []byte) (answer, error) {
	if arn, ok := tagsRequest(req); ok {
		c := &call{w: w, region: from.region, account: from.key.who.account, who: from.key.who, rest: &restful{function: arn, query: req.URL.Query(), body: body},
			seen: Call{Service: "lambda", Action: "ListTags", Params: map[string]string{"Resource": arn}}}
		return w.perform(c, action{kinds: []Kind{KindFunctions}, run: listTags})
	}
	path, ok := strings.CutPrefix(strings.TrimSuffix(req.URL.EscapedPath(), "/")+"/", functionsPath)
	if !ok {
		return answer{}, refuse("UnknownOperationException", "%s is no path of Lambda's", req.URL.Path)
	}
	name, tail, _ := strings.Cut(strings.TrimSuffix(path, "/"), "/")
	name, err := url.PathUnescape(name)
	if err != nil {
		return answer{}, refuse("InvalidParameterValueException", "%v", err)
	}
	var a action
	seen := Call{Service: "lambda", Params: map[string]string{}}
	switch {
	case req.Method == http.MethodGet && name == "" && tail == "":
		seen.Action, a = "ListFunctions", action{kinds: []Kind{KindFunctions}, run: listFunctions}
	case req.Method == http.MethodGet && tail == "configuration":
		seen.Action, a = "GetFunctionConfiguration", action{kinds: []Kind{KindFunctions}, run: getFunctionConfiguration}
	case req.Method == http.MethodPut && tail == "configuration":
		seen.Action, a = "UpdateFunctionConfiguration", action{mutates: true, kinds: []Kind{KindFunctions, KindInterfaces}, run: updateFunctionConfiguration}
	default:
		return answer{}, refuse("UnknownOperationException", "%s %s is not known here", req.Method, req.URL.Path)
	}
	seen.Params["FunctionName"], seen.Params["Body"] = name, string(body)
	c := &call{w: w, region: from.region, account: from.key.who.account, who: from.key.who, rest: &restful{function: name, query: req.URL.Query(), body: body}, seen: seen}
	return w.perform(c, a)
}

// only refuses parameters of the query that are not known.
func (r *restful) only(names ...string) error {
	for n := range r.query {
		if !slices.Contains(names, n) {
			return refuse("InvalidParameterValueException", "The parameter %s is not recognized", n)
		}
	}
	return nil
}

// A page of functions holds no more, whatever is asked for.
const mostFunctions = 50

func listFunctions(c *call) (answer, error) {
	if err := c.rest.only("Marker", "MaxItems", "FunctionVersion", "MasterRegion"); err != nil {
		return answer{}, err
	}
	most := mostFunctions
	if s := c.rest.query.Get("MaxItems"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > 10000 {
			return answer{}, refuse("InvalidParameterValueException", "Value '%s' at 'maxItems' is not between 1 and 10000", s)
		}
		most = min(most, n)
	}
	asked := c.asked(nil, nil)
	var last string
	if m := c.rest.query.Get("Marker"); m != "" {
		p, err := c.w.open(m)
		if err != nil || p.Asked != asked {
			return answer{}, refuse("InvalidParameterValueException", "Invalid pagination token")
		}
		last = p.Last
	}
	out := map[string]any{"Functions": []any{}}
	var configs []any
	for _, f := range ofAccount(c, c.t.functions, func(f *Function) string { return f.Account }) {
		if f.Name <= last {
			continue
		}
		if len(configs) == most {
			out["NextMarker"] = c.w.seal(page{Asked: asked, Last: last})
			break
		}
		// A list tells neither the state nor how far an update is (Lambda API reference,
		// ListFunctions).
		short := configuration(c, f)
		delete(short, "State")
		delete(short, "LastUpdateStatus")
		configs = append(configs, short)
		last = f.Name
	}
	if configs != nil {
		out["Functions"] = configs
	}
	return answer{json: out}, nil
}

// find resolves a name, a part of an ARN or a whole one.
func (c *call) find() (arn string, f *Function, err error) {
	name := c.rest.function
	parts := strings.Split(name, ":")
	switch {
	case len(parts) == 1:
		arn = functionARN(c.region, c.account, name)
	case len(parts) == 3 && parts[1] == "function":
		arn = functionARN(c.region, parts[0], parts[2])
	default:
		arn = name
	}
	f = c.t.functions[arn]
	if f == nil || f.Account != c.account {
		return "", nil, refuse("ResourceNotFoundException", "Function not found: %s", arn)
	}
	return arn, f, nil
}

func configuration(c *call, f *Function) map[string]any {
	status := "Successful"
	if f.Updating {
		status = "InProgress"
	}
	out := map[string]any{
		"FunctionName": f.Name, "FunctionArn": functionARN(c.region, f.Account, f.Name), "Runtime": f.Runtime,
		"State": "Active", "LastUpdateStatus": status, "Version": "$LATEST", "RevisionId": c.w.hash(f.Name, f.Groups, f.Subnets, f.Updating)[:32],
		"Role": "arn:aws:iam::" + f.Account + ":role/" + f.Name,
	}
	if f.VPC != "" {
		out["VpcConfig"] = map[string]any{"SubnetIds": f.Subnets, "SecurityGroupIds": f.Groups, "VpcId": f.VPC, "Ipv6AllowedForDualStack": false}
	}
	return out
}

func getFunctionConfiguration(c *call) (answer, error) {
	if err := c.rest.only("Qualifier"); err != nil {
		return answer{}, err
	}
	arn, f, err := c.find()
	if err != nil {
		return answer{}, err
	}
	out := answer{json: configuration(c, f)}
	if f.lag > 0 {
		t := c.in.t.clone()
		edit(t.functions, arn, func(f *Function) {
			f.lag--
			f.Updating = f.lag > 0
		})
		Region{c.w, c.account, c.region}.hyperplane(t)
		c.in.t = t
	}
	return out, nil
}

// Lambda's bounds of a function's place in a VPC.
const (
	functionGroups  = 5
	functionSubnets = 16
)

// updateFunctionConfiguration moves a function between groups. What it may set else is
// refused: nothing here would show it.
func updateFunctionConfiguration(c *call) (answer, error) {
	arn, f, err := c.find()
	if err != nil {
		return answer{}, err
	}
	var in struct {
		VpcConfig *struct {
			SubnetIds, SecurityGroupIds []string
			Ipv6AllowedForDualStack     *bool
		}
		RevisionId *string
	}
	d := json.NewDecoder(bytes.NewReader(c.rest.body))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return answer{}, refuse("InvalidRequestContentException", "Could not parse request body into json: %v", err)
	}
	switch {
	case f.Updating:
		return answer{}, refuse("ResourceConflictException", "The operation cannot be performed at this time. An update is in progress for resource: %s", arn)
	case in.RevisionId != nil && *in.RevisionId != configuration(c, f)["RevisionId"]:
		return answer{}, refuse("PreconditionFailedException", "The RevisionId provided does not match the latest RevisionId. Call the GetFunction/GetAlias API to retrieve the latest RevisionId")
	case in.VpcConfig == nil:
		return answer{}, refuse("InvalidParameterValueException", "There is nothing to update but VpcConfig here")
	}
	next := *f
	next.Subnets, next.Groups = in.VpcConfig.SubnetIds, in.VpcConfig.SecurityGroupIds
	if next.VPC, err = c.placed(next.Subnets, next.Groups); err != nil {
		return answer{}, err
	}
	next.was, next.lag = f.runs(), c.w.faults.functionLag
	next.Updating = next.lag > 0
	c.t.functions[arn] = &next
	Region{c.w, c.account, c.region}.hyperplane(c.t)
	return answer{json: configuration(c, &next)}, nil
}

// placed checks subnets and groups of a function, and gives their VPC.
func (c *call) placed(subnets, groups []string) (vpc string, err error) {
	bad := func(format string, args ...any) (string, error) {
		return "", refuse("InvalidParameterValueException", "%s", fmt.Sprintf(format, args...))
	}
	switch {
	case len(subnets) == 0 && len(groups) == 0:
		return "", nil
	case len(subnets) == 0 || len(groups) == 0:
		return bad("SubnetIds and SecurityIds must coexist or be both empty list.")
	case len(subnets) > functionSubnets || len(groups) > functionGroups:
		return bad("a function is in at most %d subnets and %d security groups", functionSubnets, functionGroups)
	}
	for _, id := range subnets {
		s := c.t.subnets[id]
		if s == nil || s.Account != c.account {
			return bad("Error occurred while DescribeSubnets. EC2 Error Code: InvalidSubnetID.NotFound. EC2 Error Message: The subnet ID '%s' does not exist", id)
		}
		if vpc != "" && s.VPC != vpc {
			return bad("The subnets %v are not of one VPC", subnets)
		}
		vpc = s.VPC
	}
	for _, id := range groups {
		g := c.t.groups[id]
		if g == nil || g.Account != c.account || g.VPC != vpc || c.w.hides(id) {
			return bad("Error occurred while DescribeSecurityGroups. EC2 Error Code: InvalidGroup.NotFound. EC2 Error Message: The security group '%s' does not exist", id)
		}
	}
	return vpc, nil
}
