import base64
import io
import os
import pickle
import subprocess
import zlib

import numpy as np
import pytest

from facejax.io.pandas_pickles import read_frame, write_frame
from facejax.io.pickles import UnsafePickleError

# pandas.DataFrame({"sp": [[[1], [2]], [[3], [4]]], "ep": [[[5]], [[6]]], "n": [7, 8]}), the cells
# of sp and ep float arrays, pickled by pandas itself; base 85 of zlib
PICKLED = {
    "1.5.3": (
        "c-oCqOKaRP5VpO$&Gtc)kUq8)dTZHUe9ob;p(%yL)P+!b3qrQFYZF;El1#eLKyt`70o^kF2mOKl2kl7SZ8q%&D)4"
        "9|fAh^lGpF6}KRTXUX0xUuqbf`*$-=RuB?EK!9o6)`)34z58Jxh-bV)gpU|uZ43!#}5l&i3$f=-xJU>>~XReJQHJ"
        ")^mKGPfYSNYu3nn03;Kx=4>WBZ;-K;K!mV>uJkgHe44}N;*YWB3W7qrDc<93+y={m^I{fkSmD1bJ+D0_yz|sjQl8"
        "wf*IuNrkCkyZ8I^!$8EU0X#aPN{}tjm-v5QmiD;xDxjckn{xILPWck)Lm5)>d6O3;Vy!ng3vjn>vZDoIs+TGg$yu"
        "OX|<sW>1r`<Ph!TSq*zr{WJPu#%a7=EUoGzHdFVDWp37b$a9vyoWiD6lfWzlt(w(=V3N&tI)fer=xh+`H$39HEcS"
        "vX>cPoz388GiB@xQ(;0Cw%|P?*fH6&cNk>;$@CVwYsL&46#fmggNNt#2~D7Cd~b%r7vPfb3fs?dGqXv4HqTc1mQ+"
        "lv^8>ptIn1*dE2gQ`STEC6x~ee|tDuL-cbv=$920CdoFE(EVwy<FG<6XlV&SRQI437y?vOF36Q@3<oL9$+WKE6FL"
        "Nz0tCJcw<LN!VF8%Bj&WB"
    ),
    "2.2.3": (
        "c-nnaU2oGc6m8Om6^7WxXAu$-51{TP&yzsf#1Ilh1hn^IIjK`eOPt7dG%7I(9w?jSw_W%h{51XnTsy5us|i2Y*U9"
        "lc=YD+&e*Eh9+%h{g6%(q$w2~~$BrO@3>#wM$ubq7fyI<i9#%4gusRZ-53(tjSQqV$$B^7kaqylsEWl^Ok@7g;)H"
        "}@AWNRcP%-xDxfq!D$Vo)nBE_KgMK6HQsqTJL33=$uMPXXuqkmR3S(*`(S60|x}NfxaE&5~AKWIP?<u4o5JKyvUF"
        "IIq)qLO!Ta_kr@B|9$cKa|NF-K3~?O4{e#PG(Y}V{;uvGS-BE!ilX(helVq|glP1etT;reHz3%$Gzc3DfkBpzKFu"
        "hn~>LC;A^X6c@L(mB0Pu3j{5887Z9X@Tre0K>Qu0ZcPi1$CpXdS{(f*B@Fj!70+jX)K7%3K;PnUx;-cITU2Z5vB<"
        "i_-<0cY@{5t_an0rD&x+NB8|M!5nPPN2`rBVV{@^6RNNsZxF#w$s79(_3_vQOWQT(1e+E3ExuzLfZth`zmJzkuAI"
        "KAvGxo%Pqc9lgzfFPnOi|0%)_g=B^6Ukeq_%MA^(U1l%`T+s?0#?s>VR9feex7d@{S?$YA5)G+BYm$s#4w)G0p3o"
        "KvlFX3oG|BUwSG&U`?NqB>P%($rWHsu?M0!f;^DRg;8&0U;n*Xa"
    ),
    "3.1.1": (
        "c-nnaO>fgc5RILrO&g#^K@bE2aR8+kpOHZ7R|KLK29<NQT0865ioLehYqgQ6fCHhG_SS*l2{&#qyN=Z)LhNC^>wP"
        "oxX6DW3_V@d(hFNMYr+h>UP#Z%k=_^4~23N521<qlhS|l9{P>(8%6J&xpF_%nmniNh-IUO^Bwl@xvESS8l?r5&=&"
        "Min1`^B{hs4Y_RJPsxaBfhpVU|y#A)FH-wS|&24LeMF?C4vPRFQg~~sgZ4i1htON4de>k##cDBeE0^(FmNr`cI_E"
        "NTdF;h(_E*b?03)M@}hcgD(fS7o_F*Im)YE13I62?Cfi%2foCS-092QRB1`=;3{7T(AKQ(^^>cTA*n_CA>~Ja6%a"
        "u?K421-(87S)zB*LO6s}4JR)pr{mKCQsfP7UoWLGKud^*=~|6~d5$>iA`hRp!`_c9FyZGj-I#G<Db3d(>UzwqCQF"
        "e@(LSLbB1bf23-eUR2axp!?=xfEnnb_m`zLVrQ&yd|EJ2n}oAd@<#tdeo;fU>$8#O2;~Z@w<I(p3e4&uA^G&|T58"
        "^KU%wpCV8TXP6F28(wL$lT6fqy~&qa0gc<ooqGi7MhZ^K$oYxz`08Hd-OepkhqY22;oww7YltA*Ia%L5}UyU0<63"
        "^$9L2F$PrEv_fcD~<7c46}Jm`Is%F7$qLIM^YiNIjU92EXUI61G;i8W6AV}V~X5xf^|tkGr?+uq)bv%qZ8~hl@jO"
        "l9LbX~p<{ErN0THwEy$?MQ3F&ml2D)FkX{s}@B9VGf`Hx"
    ),
}


def load(data):
    return read_frame(io.BytesIO(data))


@pytest.mark.parametrize("version", PICKLED)
def test_frames_of_pandas(version):
    found = load(zlib.decompress(base64.b85decode(PICKLED[version])))
    assert list(found) == ["sp", "ep", "n"]
    np.testing.assert_array_equal(found["sp"], [[[1.0], [2.0]], [[3.0], [4.0]]])
    np.testing.assert_array_equal(found["ep"], [[[5.0]], [[6.0]]])
    np.testing.assert_array_equal(found["n"], [7, 8])
    assert found["sp"].dtype == np.float64 and found["n"].dtype == np.int64


def test_written_frames_are_read_again(tmp_path, rng):
    table = {"sp": rng.standard_normal((3, 5, 1)), "ep": rng.standard_normal((3, 2)).astype("f4")}
    found = read_frame(write_frame(tmp_path / "a.pkl", table))
    assert list(found) == list(table)
    for name, value in table.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value)
    with pytest.raises(ValueError, match="equally many rows"):
        write_frame(tmp_path / "b.pkl", table | {"ep": table["ep"][:2]})


class Call:
    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


FRAME = b"cpandas.core.frame\nDataFrame\n)\x81"
MANAGER = b"cpandas.core.internals.managers\nBlockManager\n"


@pytest.mark.parametrize(
    "data, name",
    [
        (pickle.dumps(Call(os.system, "touch broken"), 2), "system"),
        (pickle.dumps([1, Call(subprocess.getoutput, "touch broken")], 4), "getoutput"),
        (pickle.dumps(Call(eval, "1"), 2), "builtin.*eval"),
        # inside a frame: the state of the frame, the class of an index, the items of an array
        (b"\x80\x02" + FRAME + b"cos\nsystem\nX\x01\x00\x00\x00.\x85Rb.", "os.system|posix.system"),
        (b"\x80\x02cpandas.io.pickle\nread_pickle\nX\x01\x00\x00\x00a\x85R.", "read_pickle"),
        (b"\x80\x02cpandas.core.indexes.base\n_new_Index\n" + FRAME + b"}\x86R.", "kind of pandas"),
        (b"\x80\x02cpandas._libs.arrays\n__pyx_unpickle_NDArrayBacked\nK\x01\x85R.", "kind of"),
        (pickle.dumps(np.array([Call(os.system, "touch broken")], object), 2), "system"),
        (b"\x80\x02cbuiltins\nslice\nX\x01\x00\x00\x00a\x85R.", "three integers"),
    ],
)  # fmt: skip
def test_anything_else_is_refused_by_name(data, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnsafePickleError, match=name):
        load(data)
    assert not list(tmp_path.iterdir())


def _object_array(shape, items):
    """The pickle of an object array whose list of items may not fit its shape."""
    dtype = b"cnumpy\ndtype\nX\x02\x00\x00\x00O8\x89\x88\x87R"
    body = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R("
    inner = [pickle.dumps(v, 2)[2:-1] for v in (1, shape)]
    return body + inner[0] + inner[1] + dtype + b"\x89" + pickle.dumps(items, 2)[2:-1] + b"tb"


def test_object_arrays_hold_as_many_items_as_they_say():
    with pytest.raises(UnsafePickleError, match="do not fit"):
        load(b"\x80\x03" + _object_array((10**12,), [1, 2]) + b".")
    with pytest.raises(UnsafePickleError, match="do not fit"):
        load(b"\x80\x03" + _object_array((2, -1), [1, 2]) + b".")
    raw = pickle.dumps(np.arange(2), 3).replace(b"i8", b"O8")  # numbers taken for addresses
    with pytest.raises(ValueError, match="not a readable pickle|do not fit"):
        load(raw)


def test_other_pickles_and_damaged_frames(tmp_path):
    with pytest.raises(ValueError, match="pickled dict, wanted a pandas DataFrame"):
        load(pickle.dumps({"sp": np.zeros(3)}))
    with pytest.raises(ValueError, match="cannot make sense of this pandas frame"):
        load(b"\x80\x02" + FRAME + b"}b.")
    with pytest.raises(ValueError, match="cannot make sense of this pandas frame"):
        load(b"\x80\x02" + FRAME + b"}X\x04\x00\x00\x00_mgr" + MANAGER + b")\x81sb.")
    good = write_frame(tmp_path / "a.pkl", {"sp": np.zeros((2, 3))}).read_bytes()
    for cut in range(1, len(good) - 1, 37):
        with pytest.raises(ValueError):
            load(good[:cut])


def test_cells_of_different_shapes_are_named(tmp_path):
    uneven = np.empty(2, object)
    uneven[:] = [np.zeros(2), np.zeros(3)]
    with pytest.raises(ValueError, match=r"column 'sp' have shapes \[\(2,\), \(3,\)\]"):
        read_frame(write_frame(tmp_path / "a.pkl", {"sp": uneven}))
