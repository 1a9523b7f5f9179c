#!/bin/sh
# Makes certificates and keys of unusual kinds. Run it after make.sh, whose certificates stay as they are.
set -eu
cd "$(dirname "$0")"
mkdir work
days=36500
sign() { # name, subject, extensions, serial; the key is there
  openssl req -new -key "$1.key" -subj "$2" -out work/request
  printf "$3" > work/extensions
  openssl x509 -req -in work/request -CA ca.pem -CAkey ca.key -set_serial "$4" -days $days -extfile work/extensions -out "$1.pem"
}
leaf='basicConstraints=CA:FALSE\nkeyUsage=digitalSignature,keyEncipherment\n'
openssl genrsa -out odd_rsa_1024.key 1024
sign odd_rsa_1024 "/CN=rsa 1024" "${leaf}subjectAltName=DNS:a.test\n" 4130
openssl genrsa -out odd_rsa_4096.key 4096
sign odd_rsa_4096 "/CN=rsa 4096" "${leaf}subjectAltName=DNS:a.test\n" 4131
for curve in secp224r1 secp384r1 secp521r1 secp256k1; do
  openssl ecparam -name $curve -genkey -noout -out odd_$curve.key
  sign odd_$curve "/CN=$curve" "${leaf}subjectAltName=DNS:a.test\n" "$((4132 + $(printf %d "0x$(printf %s $curve | md5sum | cut -c1-4)")))"
done
openssl genpkey -algorithm ed25519 -out odd_ed25519.key
sign odd_ed25519 "/CN=ed25519" "${leaf}subjectAltName=DNS:a.test\n" 4140
openssl genrsa -out odd_must_staple.key 2048
sign odd_must_staple "/CN=must staple" "${leaf}subjectAltName=DNS:a.test\ntlsfeature=status_request\n" 4141
openssl ecparam -name prime256v1 -genkey -noout -out odd_nobody.key
sign odd_nobody "/O=nobody" "${leaf}" 4142
openssl rsa -in server.key -traditional -out odd_traditional.key
openssl rsa -in server.key -traditional -aes128 -passout pass:secret -out odd_traditional_encrypted.key
openssl pkcs8 -topk8 -in server.key -passout pass:secret -out odd_pkcs8_encrypted.key
openssl pkcs8 -topk8 -nocrypt -in server.key -out odd_pkcs8.key
openssl ecparam -name prime256v1 -genkey -out odd_with_parameters.key
sign odd_with_parameters "/CN=with parameters" "${leaf}subjectAltName=DNS:a.test\n" 4143
openssl x509 -in server.pem -text -out odd_text.pem
sed 's/$/\r/' server.pem > odd_crlf.pem
{ echo "some words before"; cat server.pem; echo "and after"; } > odd_words.pem
cat server.key server.pem > odd_key_first.pem
cat ca.pem server.pem > odd_authority_first.pem
cat server.pem client.pem > odd_with_stranger.pem
sed 's/BEGIN CERTIFICATE/BEGIN TRUSTED CERTIFICATE/;s/END CERTIFICATE/END TRUSTED CERTIFICATE/' server.pem > odd_trusted.pem
sed 's/BEGIN CERTIFICATE/BEGIN X509 CERTIFICATE/;s/END CERTIFICATE/END X509 CERTIFICATE/' server.pem > odd_x509.pem
openssl x509 -in server.pem -outform DER -out odd.der
sed '5d' server.pem > odd_line_missing.pem
head -c 600 server.pem > odd_cut.pem
{ cat server.pem; printf -- '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'; } > odd_second_broken.pem
cat ca.pem other_ca.pem > odd_two_authorities.pem
rm -rf work
