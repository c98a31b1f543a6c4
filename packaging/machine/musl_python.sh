# Compiles CPython and zlib for musl with zig, and lays out a root in /out.
# $1 is the program, such as python3.14t, $2 the processor, such as aarch64. /sources has a tarball of
# each of the two; the loader of musl and BusyBox are those of the processor.
set -eu
cd /root
mkdir python zlib
tar --extract --strip-components=1 --directory=python --file="$(echo /sources/[Pp]ython*)"
tar --extract --strip-components=1 --directory=zlib --file="$(echo /sources/zlib*)"

write() {
    printf '#!/bin/sh\nexec /zig/zig %s "$@"\n' "$2" > "/usr/local/bin/$1"
    chmod +x "/usr/local/bin/$1"
}
# Without optimisation zig adds checks of undefined behaviour, which fail in programs of configure. It
# refuses the time of the build, which CPython prints.
write cc "cc -target $2-linux-musl -dynamic -fno-sanitize=undefined -Wno-date-time -g0"
write ar ar
write ranlib ranlib
export ZIG_GLOBAL_CACHE_DIR=/root/zig CC=cc AR=ar RANLIB=ranlib

(cd zlib && ./configure --static && make libz.a)
cd python
# Threads keep the stacks of 128 KiB that musl gives, which is harder for a server than the 1 MiB that
# Alpine compiles in.
export OPT="-DNDEBUG -fwrapv -O1"
export CPPFLAGS=-I/root/zlib LDFLAGS=-L/root/zlib
# CPython knows musl by what musl's stdarg.h defines, instead of which zig has clang's.
export CPP="cc -E -D__DEFINED_va_list"
case $1 in
    *t) gil=--disable-gil ;;
    *) gil= ;;
esac
# zlib is what pip needs. There are no TLS and no ctypes, whose libraries would be compiled, too.
# It is no cross build: programs for musl run here, under the emulator if they are for another processor.
./configure "--build=$2-linux-musl" --prefix=/usr --disable-test-modules --without-doc-strings \
    --without-ensurepip $gil
# Modules are compiled as they are imported: under the emulator all of them would take minutes.
sed -i 's|$(DESTDIR)$(LIBDEST)/compileall.py|-c pass|' Makefile
make -j"$(nproc)"
make install DESTDIR=/out
rm -rf /out/usr/lib/python*/test

mkdir -p /out/bin /out/lib /out/etc /out/tmp /out/root
# The loader of musl is also its libc.
cp --dereference "/lib/ld-musl-$2.so.1" /out/lib
echo root:x:0:0:root:/root:/bin/sh > /out/etc/passwd
echo root:x:0: > /out/etc/group
cp /bin/busybox /out/bin
# From within, so that the links name the place that BusyBox then has.
chroot /out /bin/busybox --install -s /bin
