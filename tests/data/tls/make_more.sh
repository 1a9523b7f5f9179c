#!/bin/sh
# Makes what later tests need beside the certificates of make.sh, which stay as they are: an authority below the first one, names of
# unusual types, OCSP responses, a PKCS#12 file, SPIFFE bundles. Run it after make.sh.
set -eu
cd "$(dirname "$0")"
mkdir work
days=36500
sign() { # name, subject, extensions, authority, serial
  openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"
  openssl req -new -key "$1.key" -subj "$2" -out work/request
  printf "$3" > work/extensions
  openssl x509 -req -in work/request -CA "$4.pem" -CAkey "$4.key" -set_serial "$5" -days $days -extfile work/extensions -out "$1.pem"
}
leaf='basicConstraints=CA:FALSE\nkeyUsage=digitalSignature\n'
between='basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n'
sign intermediate "/CN=Intermediate CA" "$between" ca 4110
sign lower "/CN=Lower CA" "$between" intermediate 4111
sign deep "/CN=deep" "${leaf}subjectAltName=URI:spiffe://test/deep,DNS:deep.test\n" intermediate 4112
cat intermediate.pem >> deep.pem
sign deeper "/CN=deeper" "${leaf}subjectAltName=URI:spiffe://test/deeper,DNS:deeper.test\n" lower 4113
cat lower.pem intermediate.pem >> deeper.pem
sign othername "/CN=othername" "${leaf}subjectAltName=otherName:1.3.6.1.4.1.311.20.2.3;UTF8:me@other.test,DNS:other.test\n" ca 4114
sign two_uris "/CN=two" "${leaf}subjectAltName=URI:spiffe://test/one,URI:spiffe://other/two\n" ca 4115
sign other_domain "/CN=other" "${leaf}subjectAltName=URI:spiffe://other/client\n" other_ca 4116
sign acting_ca "/CN=acting" "basicConstraints=CA:TRUE\nkeyUsage=digitalSignature,keyCertSign\nsubjectAltName=URI:spiffe://test/ca\n" ca 4117
sign no_signing "/CN=no signing" "basicConstraints=CA:FALSE\nkeyUsage=keyAgreement\nsubjectAltName=DNS:a.test\n" ca 4118
openssl genrsa -out rsa_no_signing.key 2048
openssl req -new -key rsa_no_signing.key -subj "/CN=rsa no signing" -out work/request
printf 'basicConstraints=CA:FALSE\nkeyUsage=keyEncipherment\nsubjectAltName=DNS:a.test\n' > work/extensions
openssl x509 -req -in work/request -CA ca.pem -CAkey ca.key -set_serial 4119 -days $days -extfile work/extensions -out rsa_no_signing.pem
openssl pkcs12 -export -inkey server_ecdsa.key -in server_ecdsa.pem -out server_ecdsa.p12 -passout pass:
openssl pkcs12 -export -inkey server_ecdsa.key -in server_ecdsa.pem -out server_ecdsa_secret.p12 -passout pass:secret
index() { printf 'V\t21260101000000Z\t\t%s\tunknown\t/CN=%s\n' "$1" "$1"; }
{ index 1000; index 1001; } > work/index
: > work/index.attr
for name in server server_ecdsa; do
  openssl ocsp -issuer ca.pem -cert $name.pem -reqout work/request -no_nonce
  openssl ocsp -index work/index -CA ca.pem -rsigner ca.pem -rkey ca.key -reqin work/request -ndays $days -respout $name.ocsp
done
openssl ocsp -issuer ca.pem -cert server.pem -reqout work/request -no_nonce
openssl ocsp -index work/index -CA ca.pem -rsigner ca.pem -rkey ca.key -reqin work/request -nmin 1 -respout server_expired.ocsp
x5c() { openssl x509 -in "$1.pem" -outform DER | base64 -w0; }
cat > bundles.json <<J
{"trust_domains": {
  "test": {"spiffe_sequence": 1, "spiffe_refresh_hint": 600, "keys": [{"kty": "EC", "use": "x509-svid", "x5c": ["$(x5c ca)"]}]},
  "other": {"keys": [{"kty": "EC", "use": "x509-svid", "x5c": ["$(x5c other_ca)"]}]}
}}
J
rm -rf work
