package awstest

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

// role is an IAM role of an account.
type role struct {
	arn, account, id string
	trust            []string
	external         string
	allow            []string
}

// RoleSpec is a role to make.
type RoleSpec struct {
	Name       string
	Trust      []string // who may assume it: account ids or ARNs of users and roles
	ExternalID string   // what they must say, or ""
	Allow      []string // as of AddKey
}

// AddRole makes a role, and gives its ARN.
func (a Account) AddRole(s RoleSpec) (arn string) {
	defer a.w.lock()()
	arn = "arn:aws:iam::" + a.ID + ":role/" + s.Name
	a.w.roles[arn] = &role{
		arn: arn, account: a.ID, id: "AROA" + strings.ToUpper(a.w.hash("role", arn)[:17]),
		trust: s.Trust, external: s.ExternalID, allow: s.Allow,
	}
	return arn
}

func (r *role) trusts(who principal) bool {
	return slices.ContainsFunc(r.trust, func(t string) bool {
		ok, _ := path.Match(t, who.arn)
		return t == who.account || t == "arn:aws:iam::"+who.account+":root" || ok
	})
}

func stsActions() map[string]action {
	return map[string]action{
		"AssumeRole":        {run: assumeRole},
		"GetCallerIdentity": {run: getCallerIdentity},
	}
}

func getCallerIdentity(c *call) (answer, error) {
	if err := c.p.done(); err != nil {
		return answer{}, err
	}
	return xmlAnswer(leaf("UserId", c.who.id), leaf("Account", c.who.account), leaf("Arn", c.who.arn))
}

var sessionName = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)

// Bounds of a session in seconds. A role that assumes another has an hour at most.
const (
	shortSession  = 900
	usualSession  = 3600
	longSession   = 43200
	chainedLimit  = 3600
	sessionPrefix = "arn:aws:sts::"
)

func assumeRole(c *call) (answer, error) {
	arn, session, external := c.p.need("RoleArn"), c.p.need("RoleSessionName"), c.p.str("ExternalId")
	seconds, given := c.p.number("DurationSeconds")
	if err := c.p.done(); err != nil {
		return answer{}, inSTS(err)
	}
	if !given {
		seconds = usualSession
	}
	longest := longSession
	if c.who.role {
		longest = chainedLimit
	}
	switch {
	case !sessionName.MatchString(session):
		return answer{}, refuse("ValidationError", "Value '%s' at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\w+=,.@-]*", session)
	case seconds < shortSession || seconds > longest:
		return answer{}, refuse("ValidationError", "The requested DurationSeconds %d is not between %d and %d", seconds, shortSession, longest)
	}
	r := c.w.roles[arn]
	if r == nil || !r.trusts(c.who) || !c.who.allows("sts:AssumeRole") || r.external != "" && r.external != external {
		// One answer for all of these: who may not is not told what there is.
		return answer{}, refuse("AccessDenied", "User: %s is not authorized to perform: sts:AssumeRole on resource: %s", c.who.arn, arn)
	}
	c.w.made["session"]++
	h := c.w.hash("session", c.w.made["session"])
	_, name, _ := strings.Cut(arn, ":role/")
	k := &accessKey{
		id: "ASIA" + strings.ToUpper(h[:16]), secret: h[16:56], token: c.w.hash("token", h),
		expires: c.w.now().Add(time.Duration(seconds) * time.Second),
		who: principal{
			arn: sessionPrefix + r.account + ":assumed-role/" + path.Base(name) + "/" + session, account: r.account,
			id: r.id + ":" + session, allow: r.allow, role: true,
		},
	}
	c.w.keys[k.id] = k
	return xmlAnswer(
		elem("Credentials", leaf("AccessKeyId", k.id), leaf("SecretAccessKey", k.secret), leaf("SessionToken", k.token), leaf("Expiration", k.expires)),
		elem("AssumedRoleUser", leaf("AssumedRoleId", k.who.id), leaf("Arn", k.who.arn)))
}

// inSTS gives STS's own name for a parameter that is wrong.
func inSTS(err error) error {
	if codeOf(err) == "UnknownParameter" || codeOf(err) == "MissingParameter" {
		return refuse("ValidationError", "%v", err)
	}
	return err
}
