package awstest

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// call is a call while it is being answered.
type call struct {
	w       *World
	in      *regionState
	t       *tables // what it sees, and if it is mutating, what it writes
	region  string
	account string
	who     principal
	p       params   // of the query protocol
	rest    *restful // of Lambda's
	seen    Call
}

// action is what the endpoint can do.
type action struct {
	mutates bool
	kinds   []Kind // what it reads or writes
	run     func(*call) (answer, error)
}

// answer is the inside of an answer: XML for the query protocol, JSON for Lambda.
type answer struct {
	nodes []node
	json  any
}

func xmlAnswer(nodes ...node) (answer, error) { return answer{nodes: nodes}, nil }

// done is the answer of calls that have nothing to say.
func done() (answer, error) { return xmlAnswer(leaf("return", true)) }

// ServeHTTP answers one request of any of the services; which one is in the scope of
// its credentials.
func (w *World) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(io.LimitReader(req.Body, maxBody+1))
	if err != nil || len(body) > maxBody {
		panic(http.ErrAbortHandler)
	}
	rw.Header().Set("Server", "awstest (a simulation)")
	w.mu.Lock()
	from, err := w.authenticate(req, body)
	id := w.requestID()
	w.mu.Unlock()
	switch {
	case from.service == "lambda":
		w.serveLambda(rw, req, from, body, id, err)
	case from.service == "ec2" || from.service == "sts" || from.service == "autoscaling":
		w.serveQuery(rw, req, from, body, id, err)
	default:
		http.Error(rw, fmt.Sprintf("there is no service %q here", from.service), http.StatusNotFound)
	}
}

// The versions of the two query protocols, which are in the names of their spaces.
const (
	ec2Version = "2016-11-15"
	stsVersion = "2011-06-15"
)

// spaces are the names of the spaces of services whose answers are not of EC2's own form.
var spaces = map[string]string{
	"sts":         "https://sts.amazonaws.com/doc/" + stsVersion + "/",
	"autoscaling": "http://autoscaling.amazonaws.com/doc/" + scalingVersion + "/",
}

func (w *World) serveQuery(rw http.ResponseWriter, req *http.Request, from caller, body []byte, id string, err error) {
	var name string
	var out answer
	if err == nil {
		name, out, err = w.query(req, from, string(body))
	}
	rw.Header().Set("Content-Type", "text/xml;charset=UTF-8")
	rw.Header().Set("X-Amzn-Requestid", id)
	if err != nil {
		e := asError(err)
		rw.WriteHeader(e.Status)
		code := []node{leaf("Code", e.Code), leaf("Message", e.Message)}
		if space := spaces[from.service]; space != "" {
			_, _ = rw.Write(document("ErrorResponse", space,
				elem("Error", append([]node{leaf("Type", "Sender")}, code...)...), leaf("RequestId", id)))
			return
		}
		_, _ = rw.Write(document("Response", "", elem("Errors", elem("Error", code...)), leaf("RequestID", id)))
		return
	}
	if space := spaces[from.service]; space != "" {
		_, _ = rw.Write(document(name+"Response", space,
			elem(name+"Result", out.nodes...), elem("ResponseMetadata", leaf("RequestId", id))))
		return
	}
	_, _ = rw.Write(document(name+"Response", "http://ec2.amazonaws.com/doc/"+ec2Version+"/",
		append([]node{leaf("requestId", id)}, out.nodes...)...))
}

// query finds the action of a request and does it.
func (w *World) query(req *http.Request, from caller, body string) (name string, out answer, err error) {
	if req.Method != http.MethodPost || req.URL.Path != "/" || req.URL.RawQuery != "" {
		return "", out, refuse("InvalidAction", "%s %s is no request of the query protocol", req.Method, req.URL.Path)
	}
	if t, _, _ := strings.Cut(req.Header.Get("Content-Type"), ";"); t != "application/x-www-form-urlencoded" {
		return "", out, refuse("MalformedQueryString", "The content type %q is not that of a form", t)
	}
	p, err := decodeQuery(body)
	if err != nil {
		return "", out, err
	}
	name, version := p.need("Action"), p.str("Version")
	actions, want := ec2Actions, ec2Version
	switch from.service {
	case "sts":
		actions, want = stsActions, stsVersion
	case "autoscaling":
		actions, want = scalingActions, scalingVersion
	}
	a, known := actions()[name]
	switch {
	case !known:
		return "", out, refuse("InvalidAction", "The action %s is not valid for this web service.", name)
	case version != want:
		return "", out, refuse("NoSuchVersion", "The requested version (%s) of service AmazonEC2 does not exist", version)
	}
	c := &call{w: w, region: from.region, account: from.key.who.account, who: from.key.who, p: p}
	params := map[string]string{}
	p.d.root.flat("", params)
	c.seen = Call{Service: from.service, Action: name, Params: params}
	out, err = w.perform(c, a)
	return name, out, err
}

func asError(err error) *Error {
	if e, ok := err.(*Error); ok {
		return e
	}
	return &Error{Code: "InternalError", Message: err.Error(), Status: http.StatusInternalServerError}
}

// Start serves the world on a port of the loopback until stop is called.
func (w *World) Start() (url string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	srv := &http.Server{Handler: w}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = srv.Serve(l) // ErrServerClosed, always
	}()
	return "http://" + l.Addr().String(), func() {
		_ = srv.Close()
		<-ended
	}, nil
}

// HTTPClient gives a client whose requests the world answers in the caller's own
// goroutine, whatever host they name. Inside of testing/synctest there must be no
// network: a wait for it stops the bubble's clock.
func (w *World) HTTPClient() *http.Client { return &http.Client{Transport: direct{w}} }

type direct struct{ w *World }

func (d direct) RoundTrip(req *http.Request) (resp *http.Response, err error) {
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	in := req.Clone(req.Context())
	if in.Body == nil {
		in.Body = http.NoBody
	}
	defer in.Body.Close()
	rec := &recorder{header: http.Header{}, status: http.StatusOK}
	defer func() {
		if r := recover(); r == http.ErrAbortHandler {
			resp, err = nil, io.ErrUnexpectedEOF
		} else if r != nil {
			panic(r)
		}
	}()
	d.w.ServeHTTP(rec, in)
	return &http.Response{
		Status: http.StatusText(rec.status), StatusCode: rec.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: rec.header, Body: io.NopCloser(&rec.body), ContentLength: int64(rec.body.Len()), Request: req,
	}, nil
}

// recorder keeps an answer.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }
