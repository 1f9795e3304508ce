package awstest

import (
	"errors"
	"fmt"
	"net/http"
)

// Error is a refusal as AWS words it.
type Error struct {
	Code, Message string
	Status        int // of HTTP
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// refuse makes an Error. EC2's messages are quoted by the tools of many, so they are
// AWS's own where they are known.
func refuse(code, format string, args ...any) error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Status: statusOf(code)}
}

// statusOf gives the HTTP status of a code: 400 but for a few.
func statusOf(code string) int {
	switch code {
	case "RequestLimitExceeded", "Unavailable", "ServiceUnavailable":
		return http.StatusServiceUnavailable
	case "InternalError", "InternalFailure", "ServiceException":
		return http.StatusInternalServerError
	case "DryRunOperation":
		return http.StatusPreconditionFailed
	case "AuthFailure":
		return http.StatusUnauthorized
	case "UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "InvalidClientTokenId",
		"UnrecognizedClientException", "ExpiredToken", "ExpiredTokenException", "MissingAuthenticationToken",
		"MissingAuthenticationTokenException", "SignatureDoesNotMatch", "InvalidSignatureException":
		return http.StatusForbidden
	case "ResourceNotFoundException":
		return http.StatusNotFound
	case "ResourceConflictException":
		return http.StatusConflict
	case "PreconditionFailedException":
		return http.StatusPreconditionFailed
	case "TooManyRequestsException", "ThrottlingException":
		return http.StatusTooManyRequests
	}
	return http.StatusBadRequest
}

// codeOf gives the code of a refusal, "" for none.
func codeOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}
