package awstest

import (
	"net/http"
	"net/url"
	"strings"
)

// tagsPath is where the tags of a resource are, by its ARN.
const tagsPath = "/2017-03-31/tags/"

// tagsRequest tells which resource's tags a request of Lambda's API is about.
func tagsRequest(req *http.Request) (arn string, ok bool) {
	rest, ok := strings.CutPrefix(req.URL.EscapedPath(), tagsPath)
	if !ok || req.Method != http.MethodGet {
		return "", false
	}
	arn, err := url.PathUnescape(rest)
	return arn, err == nil
}

// listTags gives the tags of a function, by nothing but its whole ARN.
func listTags(c *call) (answer, error) {
	if err := c.rest.only(); err != nil {
		return answer{}, err
	}
	if strings.Count(c.rest.function, ":") != 6 {
		return answer{}, refuse("InvalidParameterValueException", "Value '%s' at 'resource' is not the ARN of a function", c.rest.function)
	}
	_, f, err := c.find()
	if err != nil {
		return answer{}, err
	}
	tags := map[string]string{}
	for k, v := range f.Tags {
		tags[k] = v
	}
	return answer{json: map[string]any{"Tags": tags}}, nil
}
