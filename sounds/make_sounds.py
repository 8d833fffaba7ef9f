"""Makes the sounds: `python3 make_sounds.py [--into FOLDER] [NAME ...]`, without names all of them.

README.md tells what it needs. All chance is seeded: two runs give the same audio.

How to read SCORES: a line at the margin opens a sound with its name, its beats a minute and its
longest length in seconds. The layers follow, parted by `;`: when one enters (in beats), how loud
(0 to 1), a source, and effects behind `|`, ours (EFFECTS) or sox's. A layer of effects alone lays
them on all before it. The sources:

    gm INSTRUMENT NOTES         an instrument of the soundfont, `kit` is the drum set
    tone WAVE DECAY NOTES       an oscillator; a decay of 0 holds the note, else seconds to ring
    say VOICE PITCH PACE WORDS  speech; `WORDS = NOTES` sings the words along the notes

A note is PITCH:BEATS, the pitch a name (c4, f#4, bb3), hertz, a drum, several joined by `+`, or
`-` for a rest. Behind the pitch: `~3` glides up three semitones, `<2` comes from two below,
`%` trembles, `!` is loud, `?` soft. `( NOTES )x3` plays three times.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Sound = npt.NDArray[np.float64]

RATE, FRAME, HOP = 44_100, 1024, 256
LOUDNESS, KNEE, ROOF, BITS = -15.55, 0.6, 0.16, "112k"  # the encoder takes 0.45 away
SOUNDFONT = "/usr/share/sounds/sf2/FluidR3_GM.sf2"
RAW = ["-t", "raw", "-e", "floating-point", "-b", "32", "-r", str(RATE), "-c", "2"]
PCM = ["-f", "f32le", "-ar", str(RATE), "-ac", "2", "-i", "-"]
SOUND = re.compile(r"^(\w+) (\d+) ([\d.]+)(.*\n(?: .*\n)*)", re.MULTILINE)
NOTE = re.compile(r"([^~<%!?:]+)(?:~(-?[\d.]+))?(?:<(-?[\d.]+))?(%?)([!?]?):([\d.]+)")
PROGRAMS = """piano=0 honkytonk=3 rhodes=4 harpsichord=6 celesta=8 glock=9 musicbox=10 vibes=11
    marimba=12 organ=16 church=19 accordion=21 nylon=24 muted=28 overdriven=29 distorted=30
    upright=32 bass=33 slap=36 synthbass=38 tremolo=44 pizzicato=45 harp=46 timpani=47 strings=48
    choir=52 hit=55 trumpet=56 trombone=57 tuba=58 horns=60 brass=61 tenor=66 bassoon=70 clarinet=71
    shaku=77 whistle=78 pad=88 crystal=98 banjo=105 koto=107 fiddle=110 taiko=116 snap=27 push=29
    pull=30 sticks=31 kick=36 rim=37 snare=38 clap=39 hat=42 floor=43 low=45 open=46 mid=47 crash=49
    high=50 ride=51 splash=55 bongo=60 conga=63 wood=76 lowwood=77 triangle=81"""
KEYS = {name: int(key) for name, key in re.findall(r"(\w+)=(\d+)", PROGRAMS)}
WAVES = {  # each partial's ratio to the note's pitch, and its strength; sine and noise have one
    "buzz": [(float(k), 1.0) for k in range(1, 150)],
    "saw": [(float(k), 1 / k) for k in range(1, 90)],
    "square": [(float(k), 1 / k) for k in range(1, 60, 2)],
    "pulse": [(float(k), float(np.sin(np.pi * k / 5)) / k) for k in range(1, 60)],
    "bell": [(0.5, 0.3), (1.0, 1.0), (1.19, 0.5), (1.56, 0.3), (2.0, 0.6), (2.74, 0.4), (4.1, 0.3)],
}
SCORES = """
56k 60 7.5 0 .4 tone sine 0 350+440:.5 -:.1 ( 770+1336:.08 -:.05 )x3 941+1336:.08 -:.05
    697+1209:.08 -:.05 770+1209:.08 -:.05 697+1336:.08; 1.7 .5 tone sine 0 2100!:.7 -:.04 2225:.3;
    2.8 .4 tone square 0 ( 980:.05 1180:.04 )x4 1650:.25 ( 1200:.03 2400:.03 )x9 600~9:.2 600~9:.2;
    4.4 .7 tone noise 0 1100:.5 -:.06 1800!:.3 -:.04 2400!:.2 1700!:1.8; 4.4 .5
    tone saw 0 -:1 ( 300~5:.16 -:.08 )x2 1200+1800:.7; | highpass 350 | lowpass 3300 | overdrive 4
ballmer 75 5 0 1 say rms 150 1.25 developers! | overdrive 14 | pad 0 1 | trim 0 .8 | repeat 4 | bend
    .2,500,3.6; 0 .5 say rms 170 1.25 developers! | pad 0 1 | trim 0 .8 | repeat 4 | crowd 5 .06;
    0 .8 gm kit ( kick+clap!:.5 clap:.5 )x5 kick+crash!:1; | reverb 30
bell 60 2.6 0 1 tone bell .6 a5!:.3 a5!:.1; 0 .3 tone bell .15 f7!:.3 f7:.1; | reverb 25
bezos 60 3.8 0 1 say rms 140 1 aah = c4<5!:.5 | overdrive 4; .52 1 say rms 140 1 ha = d4~-4!:.17
    -:.03 | overdrive 5 | repeat 10 | bend .2,-900,1.8; .54 .35 say rms 140 1 ha = g4~-5!:.16 -:.04
    | repeat 9 | bend .2,-600,1.6; 2.8 .5 tone sine .05 300~14:.07 -:.12 420~14:.07 -:.1 600~14:.07
bueller 60 5.5 0 1 say rms 88 .8 anyone? | overdrive 2; 3 1 say rms 80 .62 anyone? | overdrive 2;
    0 .35 gm kit ( wood?:.5 lowwood?:.5 )x5; 2 .3 tone saw 0 210~2:.3 225~-1:.3 215~2:.3
    | pan -1 1 | lowpass 2500; 4.2 .35 tone noise .03 900!:.16 700!:.2; | reverb 35
butts 120 3 0 .6 gm kit bongo!:.25 bongo:.25 conga!:.5; 1 1 tone saw 0 105~-2%:.7 88~-5:.5 62~4:.3
    | tremolo 31 85 | lowpass 1100; 1 .35 tone noise 0 500:1.5 | tremolo 31 85;
    3 .6 say slt 300 1.5 he he he = c5~-3:.22 b4~-3:.22 bb4~-3:.3
clowntown 216 4.6 0 .8 gm whistle g5:.5 e5:.5 c6:1 b5:.5 g5:.5 d6:1 c6:.5 a5:.5 f6:.5 e6:.5
    d#6:.5 d6:.5 b5:.5 g5:.5 c6:1.5; 0 .6 gm accordion ( -:1 c4+e4+g4:.6 -:.4 )x2 ( -:1 b3+d4+g4:.6
    -:.4 )x3 c4+e4+g4:1; 0 .9 gm tuba c2!:1 -:1 g1:1 -:1 f2!:1 -:1 g1:1 -:1 g2!:1 -:1 c2!:1; 0 .4
    gm kit ( kick:1 snare:1 )x5 crash:1; 11.6 .8 tone saw 0 420!:.4 -:.2 390!:.8 | wah 900 1500 1 4
cottoneyejoe 152 4.6 0 1 gm fiddle e5<1:.5 f#5:.25 e5:.25 c#5:.5 a4:.25 b4:.25 c#5:.5 e5:.5 f#5:.25
    a5:.25 f#5:.25 e5:.25 d5<1:.5 e5:.25 d5:.25 b4:.5 g#4:.25 b4:.25 c#5:.25 b4:.25 g#4:.25 b4:.25
    a4+e5!:1; 0 .5 gm banjo ( a3:.5 c#4+e4:.25 a3:.25 )x4 ( e3:.5 g#3+b3:.25 e3:.25 )x3 a3+e4:1; 0
    .8 gm kit ( kick:.5 clap:.5 )x8; 8 .9 say rms 200 1 yee haw = e4~5!:.7 c5~-9!:1.1 | overdrive 8
crickets 60 5 0 .8 tone sine 0 ( ( 4600:.022 -:.014 )x3 -:.42 )x9; .2 .4 tone sine 0 ( ( 3900:.016
    -:.012 )x5 -:.7 )x5 | pan -.8 -.8; .1 .3 tone sine 0 ( ( 5200:.02 -:.02 )x2 -:.55 )x7
    | pan .9 .9; 3 .25 tone sine 0 390~-1:.14 -:.1 375:.12 -:.08 370~-2%:.6 | reverb 60
curb 126 6 0 .9 gm tuba ( f2:1 c2:1 )x2 ( bb1:1 f2:1 )x1 c2:1 e2:1 f2!:.4;
    0 .5 gm nylon ( -:1 a3+c4+f4:.5 -:.5 )x2 -:1 bb3+d4+f4:.5 -:1.5 bb3+c4+e4:.5 -:.5 a3+c4+f4:.4;
    0 .8 gm clarinet -:1 c5<1:.5 a4:.25 c5:.25 d5:.5 f4:.5 -:.5 eb5<1:.5
    d5:.5 bb4:.5 g4:.5 g#4:.25 a4:.25 bb4:.5 e4:1 f4:.4; 9 1 gm bassoon f2<3!:.4 -:.4 f1~-2%!:1.6
dadgummit 120 3.6 0 .6 gm kit ( hat:.09 )x9 ( hat:.05 )x16 ( hat!:.035 )x12;
    1.9 .8 gm banjo e5~-14!:.6; 2.3 1 say awb 150 1.15 dad gummit! | overdrive 9;
    2.3 .35 tone saw .3 82!:.6 82!:.5 82!:1 | wah 300 2500 .7 4.5;
    4.6 .7 tone noise .12 2500~-12!:.8; 4.9 .5 tone sine .05 250~16:.1 -:.1 350~14:.1
dangerzone 144 4.6 0 .8 gm synthbass ( e2:.5 )x8 ( g2:.5 )x4 ( a2:.5 )x3 e2:1;
    0 .5 gm distorted e3+b3!:3 d3+a3:1 g3+d4!:2 a3+e4:1.5 e3+b3+e4!:2; 0 .9 gm kit ( kick:1
    snare!:1 )x3 kick:.5 low:.25 low:.25 snare!:.5 floor!:.5 crash+kick:2; 4 .8 say rms 120 1 danger
    = e4+b4+e3:2 | overdrive 10 | reverb 50; 0 .5 tone noise 0 300~30!:3 2600~-24:5 | pan -1 1
danielsan 100 5 0 .9 gm koto d4:.25 e4:.25 f4:.25 a4:.25 bb4:.25 d5:.25 e5:.25 a5!:1;
    1.5 .8 gm shaku bb4<2:.5 a4%:1.5; 0 .6 gm taiko d3!:1.5 d3!:.5 d3!:1;
    3 .25 tone sine 0 900~17:1.2 | pan -.6 .3; 4.3 1 tone noise .35 90!:2; 4.3
    .5 tone noise .4 3000!:2 | tremolo 40 95; 4.5 .6 say slt 250 1 yay | crowd 9 .3 | stretch 1.6
deeper 60 7 0 1 gm trombone d2+a2!:1.3 c2+g2!:1.5 g1+d2!:2.6; 0 1 gm tuba d1!:1.3 c1!:1.5 g1!:2.6;
    0 .6 tone saw .9 d2+73.9!:.4 -:.9 c2+66!:.4 -:1.1 g1+49.6!:1.5 | overdrive 12 | lowpass 1500;
    0 .7 gm taiko d2!:1.3 c2!:1.5 g1!:2; 4.6 .35 tone bell
    .04 2100:.3 2100:.24 2100:.19 2100:.14 2100:.1 ( 2100:.06 )x5 | reverb 20; | reverb 60 50 100
donotwant 60 3.6 0 .5 tone bell .1 1900!:.1 1500:.2; .3 .8 tone saw 0 480~6:.25 680~-9:.55
    | wah 700 2200 1 1.3; 1.2 1 say slt 230 .8 do not want! = a4~2:.4 c5:.35 f5~-3!:.4 d5~-9%:.9
drama 60 4.6 0 1 gm strings c3+c4+eb4+g4+c5!:.55 b2+b3+d4+f4+b4!:.55 ab1+ab2+c4+eb4+f#4+ab4%!:2.4;
    0 .8 gm brass c3+g3+c4!:.5 -:.05 b2+f3+b3!:.5 -:.05 ab2+f#3+ab3!:2.2; 0 1 gm timpani c3!:.55
    b2!:.55 ( ab2:.08 )x26; 0 .5 gm church c2+c3:.5 -:.05 b1+b2:.5 -:.05 ab1+ab2+c3:2.2; | reverb 60
flawless 96 4 0 .7 gm kit ( -:1 snap+clap:1 )x2 -:1 snap!:1; 0 .8 gm synthbass c2:.75 c2:.25 eb2:.5
    c2:.5 bb1:.75 c2:1.5; 1.5 1 say slt 190 .85 flaw less | reverb 40; 4 .6 tone bell .3 c6:.12
    eb6:.12 g6:.12 bb6:.12 d7:.12 g7:.5 | echo .8 .7 90 .4; 3.6 .6 tone noise .03 5000!:.1 3500!:.2
glados 60 5.2 0 .9 say slt 200 1 Thank you. Your effort was adequate. = g4:.3 c5~-2:.5 -:.25
    bb4:.3 g4:.35 eb5~-1:.4 c5:.3 d5:.25 g4~-1:.3 f4~-4%:.6 | echo .8 .8 14 .5; 0 .3 tone square .03
    1760:.08 2637:.1; 3.6 .6 tone saw 0 220~-30:1.3 | lowpass 1800; 3.6 .4 tone sine 0 880~-36:1.3
gogogo 132 3.6 0 .6 tone square 0 2350:.5 2350:.15 -:.1 2350!:.7 | tremolo 38 70 | highpass 1500;
    1.6 1 say rms 170 1 go! | overdrive 16 | pad 0 1 | trim 0 .4545 | repeat 3 | bend .1,300,1.5;
    1.6 .8 gm kit ( snare!:.25 snare:.25 snare+kick:.25 snare:.25 )x4 crash+kick!:1;
    0 .35 tone noise 0 110!:7 | tremolo 11 100
greatjob 120 4 0 .8 tone pulse 0 g4:.25 g4:.25 c5:.5 e5%:1 | wah 900 1700 1 8 | lowpass 4500;
    2 1 say rms 130 .95 great job! | echo .9 .8 130 .35; 2 .35 gm tuba c3:.5 g2:.5 c3:.5;
    2.8 .4 gm kit ( clap:.2 )x16 | crowd 14 .3 | fade q .2 | reverse | fade q 1 | reverse
greyjoy 60 4.2 0 1 gm horns e3<5!:.25 e3%!:1.1 e3~-1:.3 f3~-9!:.5; 0 1 gm tuba e2<5!:1.3 f2~3:.25
    d2~-10!:.6; 0 .8 gm trumpet -:1 bb4~2!:.15 g#4~-3!:.2 c5~-14!:.8 | wah 700 1400 1 7; 2.7
    .7 tone noise .06 200!:.3; 2.9 .6 tone saw 0 70~-3:.3 | tremolo 26 90 | lowpass 700; | reverb 60
guarantee 84 4 0 .35 gm vibes c4+e4+g4+b4+d5:3; 0 .45 gm upright c2:1.5 g2:.5 c2:2;
    0 .3 gm kit ride:1 ride:.66 ride:.34 ride:1; .4 1 say rms 70 .8 I guarantee it. | bass 6;
    3.6 .8 tone bell .5 c7!:.07 g7!:.4; 3.4 .5 gm kit hat+snare:.1 hat!:.1 open!:.4
heygirl 72 4.6 0 .22 gm rhodes db4+f4+ab4+c5+eb5:2 c4+eb4+gb4+bb4:1.5;
    0 .35 gm muted ( f4+ab4:.25 -:.25 ab4+c5:.13 ab4+c5:.12 -:.25 )x4 | wah 400 2400 .9 1.2;
    0 .5 gm bass db2<2:1.5 ab2:.5 c2<2:1.5; 1 1 say rms 78 .7 hey, girl. | bass 6 | reverb 30;
    3 .5 gm celesta ab5:.08 c6:.08 eb6:.08 f6:.08 ab6:.08 c7:.08 eb7:.5
honk 60 1.6 0 1 tone pulse 0 300~4<7!:.2 290~-5!:.12 -:.16 320~4<7!:.22 310~-7!:.25
    | wah 850 1300 .8 2.7 | overdrive 12; 0 .3 tone noise 0 1100!:.3 -:.18 1100!:.4
horn 60 3 0 1 tone saw 0 -:.01 466+554+698!:.22 -:.06 ( 466+554+698!:.09
    -:.04 )x3 466+554+698!:.6 462+550~-4!:.3 | overdrive 10 | lowpass 6000 | reverb 50;
    0 .3 tone noise 0 4000:.25 -:.06 4000:.4 4000:.6
horror 60 5.4 0 .7 tone saw 0 62~7:.3 70~9:.25 60~14:.5 | tremolo 33 90 | wah 700 1600 .7 1;
    0 .8 tone sine .1 52!:.2 48!:.9 52!:.2 48!:.8 52!:.2 48!:.6;
    1 .5 gm musicbox e6:.4 c6:.4 d#6:.4 g#5:.6; 2.9 .8 gm tremolo e5+f5+b5+c6~5%!:1.9;
    3 1 say slt 300 1 ah = 900~7<9%!:1.4 | overdrive 5; 2.9 .8 gm piano c1+db1+f#1!:2; | reverb 70
inconceivable 60 3.6 0 1
    say awb 180 .9 inconceivable! = d4:.2 d4:.2 f4~3!:.5 d4:.17 c#4:.17 e4~-5:.45;
    0 .5 gm harpsichord d5+a4!:.2 -:1.4 d5:.09 f5:.09 a5:.09 c#6:.15 d5+f5+a5!:.7; | reverb 60
letitgo 84 5.6 0 .5 tone noise 0 500~9%:3 1000~-12:5 | pan -.9 .9;
    0 .6 gm glock e6:.25 b5:.25 g#6:.25 e6:.25 c#7:.5 b6:.5 f#6:.5 e6:1;
    1 .8 gm choir e4+g#4+b4:1.5 c#4+f#4+a4+c#5:1.5 b3+e4+g#4+b4+e5!:3; 1 .8 gm strings b4:.5 c#5:.5
    e5<1:1 f#5:.5 a5<2:1 g#5%!:3; 4 .9 gm timpani e2!:2; 4 .6 gm crystal e6+b6!:.2; | reverb 60
live 138 4.4 0 .5 gm kit ( rim:.125 wood:.125 )x14; 0 .8 gm brass e4+a4+c#5!:.5
    e4+a4:.25 e4+a4:.25 f#4+b4+d#5!:.5 g#4+c#5+e5!:1; 0 .7 gm timpani a2!:1 a2:.5 b2!:.5 c#3!:1;
    3 1 say rms 150 1 We are doing it | overdrive 4; 6 1 say rms 175 .8 live!
    | overdrive 20 | bend .1,200,.3; 6.7 .7 gm kit crash+floor!:2; 6.7 .4 gm brass a3+e4+a4+c#5!:.8
loggins 108 5 0 .6 gm rhodes d4+f#4+a4+c#5:1.5 e4+g4+b4:.5 c#4+e4+g4+b4:1.5 d4+f#4+a4:3;
    0 .7 gm bass d2:1.5 e2:.5 a1:1.5 d2:.5 d2:1; 0 .8 gm kit ( kick:.5 hat:.5 snare+clap!:.5
    hat:.5 )x2 kick:.5 high!:.25 mid:.25 low!:.25 floor!:.25 crash!:1; 0 .9 gm overdriven
    a4<2:.5 b4:.25 d5:.25 f#5<2%:1.5 e5:.25 d5:.25 c#5:.25 a4:.25 b4<2:.5 d5<2%!:2.5; | reverb 35
makeitso 60 4.8 0 .5 tone saw 0 55+55.7+82.6:2.6 | lowpass 400;
    .1 .4 tone sine .06 1760:.09 1397:.09 2093:.3 1568:.07 1568:.2;
    .9 1 say rms 92 .85 Make it so.; 2.5 .8 tone noise 0 150~44!:1 2500~-30:1.1 | pan -1 1;
    2.5 .7 tone saw 0 55~36!:1 440~-24:1 | lowpass 1200 | reverb 50
noooo 60 5.5 0 1 say rms 110 1 no = d4<3!:.5 f4~1%!:1 f#4~-5%!:1.6 c#4~-14:1
    | overdrive 5 | reverb 80 50 100; 0 .35 gm strings d3+a3+f4:1.2 bb2+f3+d4:1.2 g2+eb3+bb3:1.5;
    0 .6 gm timpani d2!:1.2 bb2!:1.2 ( g2:.09 )x14
nyan 164 4.4 0 .7 tone pulse 0 d5:.5 f#5:.25 a5:.25 b5:.5 a5:.25 f#5:.25 g5:.5
    b5:.5 d6:.25 c#6:.25 b5:.5 a5:.25 b5:.25 d6:.5 f#6:.25 e6:.25 d6:.25 b5:.25 c#6:.5 a5:.5 d6!:.9;
    0 .5 tone square 0 ( d3:.25 d4:.25 )x4 ( g3:.25 g4:.25 )x4 ( b2:.25
    b3:.25 )x4 ( a2:.25 a3:.25 )x4 d3:.9; 0 .35 tone noise .02 ( 200!:.5 5000!:.5 )x8 200!:.5
ohmy 60 3.4 0 1 say rms 64 .7 oh, my = 98~3:.55 104~4<3:.2 130~-7:.7 | bass 4 | reverb 20; 0 .3
    gm vibes c4+eb4+gb4+bb4:1.4; 1.6 .5 tone sine 0 420~10%:.45; 2.1 .6 gm vibes db4+f4+ab4+c5:1.2
ohyeah 112 4.2 0 .7 tone noise .12 70!:.5 70!:.5 70!:.5 70!:.4;
    3.5 1 tone noise .35 160!:2; 3.5 .7 tone noise .2 1800!:1; 3.6 .6 gm kit lowwood!:.12
    wood:.07 lowwood:.16 wood:.1 lowwood:.24 wood:.3 rim:.5; 4.4 1 say rms 120 .9 oh, yeah!
    | speed .72 | overdrive 14 | bass 6 | reverb 40; 0 .5 gm slap e2:.5 g2:.5 a2:.5 e2:.5
pushit 124 4.2 0 .9 gm kit ( kick:.75 kick:.25 snare+clap!:.5 kick:.5 )x4 kick+crash:1;
    0 .8 gm synthbass ( a1:.25 a1:.5 c2:.25 d2:.5 -:.25 e2:.25 )x3 ( a1:.5 )x2;
    2 1 say slt 170 .9 push! | overdrive 6 | pad 0 1 | trim 0 .968 | repeat 1;
    6 .7 gm kit rim!:.25 sticks:.5; 6.6 .8 tone bell .6 e6!:.4 c6!:.4; 4 .5 gm hit a3:.5 -:.5 a3:.5
rimshot 120 2.4 0 1
    gm kit snare!:.17 snare:.2 -:.06 floor+kick:.44 -:.1 rim+snare+kick+splash+crash!:2; | reverb 20
rollout 60 5 0 .6 tone saw 0 30:.09 -:.06 32:.09 -:.06 34:.09 -:.06 38~9:.3 | lowpass 900;
    .8 1 tone saw 0 50+75~17!:.9 58+87~14!:.8 65+98~10!:1.6 | overdrive 10
    | lowpass 1800 | pan -.8 1; .9 .5 tone saw 0 1150~-3%:.7 | overdrive 8 | wah 1500 2500 .7 3;
    .9 .4 tone noise 0 2200~-4:.7; 2.6 .5 tone square 0 523+659!:.14 -:.08 523+659!:.3
rumble 100 5.2 0 1 tone bell .45 1250!:.4 1250!:.4 1250!:.6;
    0 .5 tone bell .2 3300:.4 3300:.4 3300:.6; 1.4 .9 say rms 110 .7 ready? = a3:.3 a3~3!:.9
    | overdrive 10 | reverb 50; 3 .9 tone noise 0 55~-4!:5 | tremolo 9 50;
    1 .3 tone noise 0 900~5:2 1200~-8:5 | tremolo 5 30; 3 .8 gm taiko ( e2!:.33 )x4 ( e2:.16 )x14
sax 66 6 0 1 gm tenor e4<2:.33 g4:.33 a4:.33 c5<2%:1.4 b4:.2 a4:.2 e4<1:.5 g4~-1:.3 d4<2%!:1.6; 0 .5
    gm rhodes -:.33 e4+g4+b4+c5:1.6 -:.07 eb4+g4+a4+c5:1 d4+f4+a4+c5:1.7; 0 .7 gm upright a1:1 e2:1
    ab1:1 g1:2; 0 .3 gm kit ride:1 ride:.67 ride:.33 ride:1 ride:.67 ride:.33 ride:1; | reverb 50
secret 120 3.8 0 .8 gm harp c4:.08 e4:.08 f#4:.08 b4:.08 c5:.08 e5:.08 f#5:.08 b5:.5;
    1 1 gm celesta f#5:.25 a5:.25 c#6:.25 g#5:.25 b5:.25 e6:.25 d#6!:1.5;
    1 .6 tone square .12 f#4:.25 a4:.25 c#5:.25 g#4:.25 b4:.25 e5:.25 d#5:1;
    2.6 .7 gm strings b3+d#4+f#4+b4:1.8; 2.6 .4 gm crystal b6:.1 d#7:.1 f#7:.5; | reverb 50
sexyback 116 4.2 0 .7 tone saw 0 ( g1!:.38 -:.12 g1:.12 -:.13 bb1:.25 c2~-2:.5 -:.25 g1:.25 )x4
    | overdrive 16 | wah 200 1400 1.1 .97; 0 .9 gm
    kit ( kick:.5 hat:.5 snare+clap!:.5 hat:.25 kick:.25 )x4; 2 .8 say rms 100 1 yup. | overdrive 18
    | highpass 600 | pad 0 2 | trim 0 2.07 | repeat 1; 3.2 .6 say slt 200 1 ha = c5~-6:.35
story 60 4.8 0 .1 tone noise 0 2500?:4.5 | tremolo 3 30; .3 1 say rms 82 .68 and now... you know.
    | overdrive 5; 2.9 .8 gm organ c3+g3+c4+e4+a4:.25 c3+g3+d4+f4+b4:.25 c3+g3+e4+g4+c5%!:1.3; 2.9
    .3 gm kit triangle:1 | highpass 500; 0 .15 gm organ c3+g3+bb3:2.5; | highpass 300 | lowpass 3800
tada 112 3.4 0 .9 gm trumpet g4+c5+e5!:.3 -:.1 a4+d5+f5!:.25 g4+c5+g5+c6%!:2.2;
    0 .9 gm trombone c3+g3+c4!:.3 -:.1 d3+f3+a3!:.25 c3+e3+g3+c4!:2.2; .65 .7 gm kit crash!:2; 0
    .7 gm timpani c3!:.4 g2:.25 ( c3:.07 )x20; .65 .5 gm glock c6:.1 e6:.1 g6:.1 c7:.8; | reverb 45
tmyk 100 4 0 .7 tone noise 0 500~42!:1.2 5000~-8:.4 | pan -1 1;
    .9 .9 tone bell .5 e5:.3 b5:.3 a5:.3 c#6!:1;
    .9 .6 gm pad a3+c#4+e4+b4:2.4; 0 .4 gm crystal ( e6:.08 f#6:.08 a6:.08 c#7:.08 )x3; | reverb 60
totes 132 2.4 0 1 say slt 240 .85 totes! = e5~4:.35 c5~-2:.6;
    0 .6 gm nylon c4+e4+g4+c5!:.4 f4+a4+c5:.4 g4+b4+d5+g5!:.8; 1.4 .9 tone sine
    .03 500~16!:.12 700~16!:.12 -:.12 1000~16!:.1; 2.1 .6 gm kit clap!:.4; 2.1 .5 tone bell .3 g6:.3
trololo 132 5.5 0 1 say en-us+m7 40 1 tro lo lo lo lo = d4:.5 f#4:.5 a4:.5 g4:.5 f#4%:1;
    3.2 1 say en-us+m7 40 1 la la lo lo lo lo = b4:.75 a4:.25 g4:.5 e4:.5 c#5:.5 d5%!:1.5; 0 .6 gm
    strings d4+f#4:3 e4+g4:2.5 f#4+a4+d5:2; 0 .8 gm honkytonk d2:.5 a3+d4+f#4:.5 a1:.5 a3+d4+f#4:.5
    d2:.5 a3+d4:.5 e2:.5 b3+d4+g4:.5 b1:.5 b3+e4+g4:.5 a1:.5 a3+c#4+g4:.5 d2+d3+a3+d4!:1.5
trombone 60 4.4 0 .9 gm trombone bb3<1:.6 a3<1:.6 ab3<1:.6 | wah 320 1500 1.1 1.667;
    1.8 1 gm trombone g3~-.3<1%!:1.5 | wah 320 1400 1.1 3.9;
    3.3 .9 gm trombone g3~-7:.5 | wah 900 250 1 0; | reverb 35
unix 60 4.2 0 .6 gm kit sticks:.11 rim:.09 sticks:.16 sticks:.08 rim:.12 sticks:.07 sticks:.2
    rim!:.1 sticks:.08 rim:.14 sticks:.1 rim:.07 sticks!:.2; 1.5 .5 tone square 0 1000:.18;
    1.7 .3 tone square 0 ( 70:.03 110:.03 90:.05 -:.05 )x5 | lowpass 1500;
    2.1 1 say slt 270 1.05 I know this! | speed 1.08; 3 .25 tone square .03 ( 2093:.06 2637:.06 )x3
vuvuzela 60 4 0 1 tone saw 0 233~.4<2!:2.6 231~-3:.6 | lowpass 2600 | crowd 13 .8 | speed .97;
    .3 .5 tone saw 0 -:.2 235<3!:1.2 -:.2 240<3!:1.5 | wah 500 900 1 5; 0 .3 tone noise 0 1000:3.6
what 60 3 0 .9 tone noise 0 700~20!:.14 2600~-22!:.2 900~14!:.12 | overdrive 10;
    0 .6 gm kit push!:.14 pull!:.2 push!:.12; .8 1 say rms 130 .8 what = g3~3!:.45 bb3~12%!:.65;
    1.9 .6 gm pizzicato eb4+a4!:.2; 1.9 .3 tone bell .1 1800:.2
whoomp 112 4 0 1 tone sine .5 75~-9!:1; 0 1 say rms 95 .9 whoomp! | speed .8 | overdrive 12
    | bass 5; 2 1 say rms 150 1 hey! | pad 0 1 | trim 0 .5357 | repeat 3 | crowd 8 .03;
    2 .6 gm kit ( kick+clap!:.5 clap:.25 clap:.25 )x4 crash+kick!:1;
    0 .25 gm hit c3+c4!:.5; 2 .6 gm synthbass c2:.5 c2:.25 eb2:.25 c2:.5 f2:.25 gb2:.25 c2:1 bb1:1
wups 60 2.2 0 .8 tone sine 0 1900~-24%:.75; .75 1 tone sine .12 160~9!:.06 220~-12:.2;
    .8 .7 tone noise .05 600!:.2; 1.1 1 say slt 300 1.1 wups! | speed 1.12
yay 60 3.2 0 1 say slt 260 .8 yay! = e5~2!:.4 f#5~-5:.9 | crowd 16 .25;
    0 .5 say en-us+f4 80 .9 yay! | crowd 12 .2; .4 .6 tone pulse 0 380~5!:.6 500~-5:.2
    | wah 800 1800 1 9; 0 .7 tone noise .02 1500!:.2; 0 .4 gm kit ( clap:.13 )x14 | crowd 9 .3
yeah 120 3.8 0 .7 gm kit rim!:.4 -:.35; .9 .9 gm distorted a2+e3+a3+c#4!:4 | reverb 30;
    .9 1 gm kit crash+kick+snare!:.5 kick:.25 snare:.25 low!:.25 floor!:.25 crash+kick:2;
    .9 1 say rms 160 .9 yeah = a4<5!:.4 c5%!:1.1 a4~-10!:.7 | overdrive 20 | reverb 40
yodel 132 5.4 0 1 say en-us+m3 60 1 yo la ee tee = c4:.5 e4:.5 g4:.5 e5~.2:.7;
    2.3 1 say en-us+m3 60 1 yo la ee tee = a3:.5 d4:.5 f4:.5 d5~.2:.7;
    4.6 1 say en-us+m3 60 1 yo la ee oo = g4:.35 b3:.35 g4:.35 g5<9%!:1.8 | echo .8 .7 400 .45;
    0 .5 gm accordion ( -:.5 e4+g4+c5:.5 )x2 ( -:.5 d4+f4+a4:.5 )x2 -:.5 d4+f4+b4:.5; 0 .6 gm
    tuba c2:1 g1:1 d2:1 a1:1 g1:1; 8.6 .3 tone saw 0 480~-2:.9 | tremolo 14 80 | wah 900 1500 .8 1
incoming 60 1.2 0 .8 gm marimba e5:.13 b5!:.4; 0 .5 tone bell .25 e5:.13 b5:.1; | reverb 25
mario_coin 60 1 0 .8 tone square .09 f#5:.06 a#5:.06;
    .12 1 tone square .2 d#6:.05; .12 .4 tone sine .2 d#7~.2:.3; .18 .3 tone sine .1 a#7:.05
maybe 96 3.8 0 .7 gm pizzicato d4+f#4:.5 -:.5 c4+g#4:.4; 1.7 1 say slt 180 .7 hmm, maybe? = a3~-2:.6
    -:.3 c4:.3 e4~5:.7; 4.2 .8 gm bassoon g#3<2:.3 a3~2:.6; 4.2 .5 gm pizzicato c#4+g4+b4:.5
"""


class Note(NamedTuple):
    start: float
    length: float
    hertz: list[float]
    glide: float
    scoop: float
    trembles: bool
    loud: float

    def curve(self, t: Sound) -> Sound:
        """The factor to the written pitch, `t` seconds into the note."""
        slide = self.glide * np.minimum(t / self.length, 1) - self.scoop * np.exp(-t / 0.05)
        tremble = self.trembles * 0.4 * np.sin(35 * t) * np.clip(t * 3 - 0.3, 0, 1)
        return np.exp2((slide + tremble) / 12)


def read_notes(words: list[str], beat: float) -> list[Note]:
    """The notes written in `words`, in seconds; a rest has no pitch."""
    text, notes, start = " ".join(words), [], 0.0
    while ")x" in text:
        text = re.sub(r"\(([^()]*)\)x(\d+)", lambda m: f"{m[1]} " * int(m[2]), text)
    for word in text.split():
        if not (m := NOTE.fullmatch(word)):
            raise ValueError(f"not a note: {word}")
        pitch, glide, scoop, tremble, accent, beats = m.groups()
        hertz = [read_pitch(p) for p in pitch.split("+") if p != "-"]
        loud, length = {"!": 1.0, "?": 0.5}.get(accent, 0.75), float(beats) * beat
        bends = float(glide or 0), float(scoop or 0), bool(tremble)
        notes.append(Note(start, length, hertz, *bends, loud))
        start += length
    return notes


def read_pitch(word: str) -> float:
    """Hertz of a name (c4, f#4, bb3), a drum, or a number."""
    if word[0].isdigit():
        return float(word)
    if (key := KEYS.get(word)) is None:
        key = 12 * int(word[-1]) + 12 + [9, 11, 0, 2, 4, 5, 7]["abcdefg".index(word[0])]
        key += word[1:].count("#") - word[1:].count("b")
    return float(440 * 2 ** ((key - 69) / 12))


def gm(words: list[str], beat: float) -> Sound:
    """The notes on an instrument of the soundfont, by way of a MIDI file."""
    channel, program = (9, 0) if words[0] == "kit" else (0, KEYS[words[0]])
    events = [(0, 0, bytes([0xC0 + channel, program]))]
    events += [(0, 0, bytes([0xB0 + channel, *pair])) for pair in ((101, 0), (100, 0), (6, 24))]
    for note in read_notes(words[1:], beat):
        start, t = note.start * 1000, np.arange(0, note.length, 0.01)
        for at, turn in zip(t, 8192 + np.log2(note.curve(t)) * 4096, strict=True):
            wheel = bytes([0xE0 + channel, int(turn) & 127, int(turn) >> 7])
            events.append((round(start + at * 1000), 1, wheel))
        for key in (round(69 + 12 * float(np.log2(hertz / 440))) for hertz in note.hertz):
            on, off = (0x90 + channel, key, int(note.loud * 127)), (0x80 + channel, key, 0)
            events.append((round(start), 2, bytes(on)))
            events.append((round(start + note.length * 1000) - 2, 0, bytes(off)))
    with tempfile.TemporaryDirectory() as folder:
        song, played = Path(folder, "song.mid"), Path(folder, "played.raw")
        song.write_bytes(midi_file(sorted(events)))
        options = "-niq -g 0.5 -R 0 -C 0 -r 44100 -T raw -O float -o synth.dynamic-sample-loading=1"
        run("fluidsynth", *options.split(), "-F", str(played), SOUNDFONT, str(song))
        return stereo(played.read_bytes())


def midi_file(events: list[tuple[int, int, bytes]]) -> bytes:
    """A file of one track whose tick is a millisecond, with two seconds to ring out."""
    track, before = bytearray(b"\x00\xff\x51\x03\x0f\x42\x40"), 0
    for at, _, message in [*events, (events[-1][0] + 2000, 0, b"\xff\x2f\x00")]:
        gap, before = at - before, at
        track += bytes([gap >> 14 & 127 | 128, gap >> 7 & 127 | 128, gap & 127]) + message
    head = b"MThd" + bytes([0, 0, 0, 6, 0, 0, 0, 1, 1000 >> 8, 1000 & 255])
    return head + b"MTrk" + len(track).to_bytes(4, "big") + bytes(track)


def tone(words: list[str], beat: float) -> Sound:
    """The notes on an oscillator, or as noise around their pitch."""
    (name, ring, *written), random = words, np.random.default_rng(7)
    decay, notes = float(ring), read_notes(written, beat)
    out = np.zeros((2, round((notes[-1].start + notes[-1].length + 4 * decay) * RATE) + 1))
    for note in notes:
        t, at = np.arange(round((note.length + 4 * decay) * RATE)) / RATE, round(note.start * RATE)
        edges = np.minimum(t * 250, 1) * np.clip((t[-1] - t) * 100, 0, 1) * note.loud
        for hertz in note.hertz:
            turns = np.cumsum(pitch := hertz * note.curve(t)) / RATE
            for ratio, strength in WAVES.get(name, [(1.0, 1.0)]):
                if pitch.max() * ratio < RATE / 2.8:
                    level = strength * edges * (np.exp(-t * ratio**0.7 / decay) if decay else 1)
                    if name == "noise":
                        hiss = random.standard_normal((2, len(t)))
                        slow = np.ones(width := round(0.7 / hertz * RATE)) / width
                        level = level * np.array([np.convolve(ear, slow, "same") for ear in hiss])
                    out[:, at : at + len(t)] += np.sin(2 * np.pi * ratio * turns) * level
    return out


def say(words: list[str], beat: float) -> Sound:
    """Speech, or its words sung: then stretched to the notes' length and put on their pitch."""
    voice, pitch, pace, *text = words
    spoken, _, notes = " ".join(text).partition("=")
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder, "speech.wav"))
        if voice in {"rms", "slt", "awb"}:
            setting = f"--setf int_f0_target_mean={pitch} --setf duration_stretch={1 / float(pace)}"
            run("flite", "-voice", voice, *setting.split(), "-t", spoken, "-o", file)
        else:
            speed = str(round(170 * float(pace)))
            run("espeak-ng", "-v", voice, "-p", pitch, "-s", speed, "-w", file, spoken)
        trim = ["silence", "1", "0.01", "1%", "reverse"] * 2
        speech = stereo(run("sox", file, *RAW, "-", *trim).stdout)
    if not notes:
        return speech
    hum = spectrum(tone(["buzz", "0", *notes.split()], beat))
    # The slow part of the log spectrum is the mouth, its ripples would be the harmonics.
    cepstrum = np.fft.irfft(np.log(np.abs(spectrum(speech)) + 1e-4))
    cepstrum[..., 90:-90] = 0
    mouth = np.exp(np.fft.rfft(cepstrum).real)
    mouth = mouth[:, np.linspace(0, mouth.shape[1] - 1, hum.shape[1]).astype(int)]
    hiss = spectrum(np.random.default_rng(1).standard_normal((2, hum.shape[1] * HOP)))
    whispered = mouth[..., 90:].mean(axis=-1) > mouth[..., :40].mean(axis=-1)
    throat = np.where(whispered[..., np.newaxis], 2 * hiss[:, : hum.shape[1]], hum)
    return unspectrum(throat * mouth, hum.shape[1] * HOP)


def spectrum(sound: Sound) -> npt.NDArray[np.complex128]:
    padded = np.pad(sound, ((0, 0), (FRAME, 2 * FRAME)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME, axis=1)[:, ::HOP]
    return np.fft.rfft(frames * np.hanning(FRAME))


def unspectrum(frames: npt.NDArray[np.complex128], count: int) -> Sound:
    windows = np.fft.irfft(frames) * np.hanning(FRAME) * HOP / FRAME * 8 / 3
    out = np.zeros((2, frames.shape[1] * HOP + FRAME))
    for at in range(frames.shape[1]):
        out[:, at * HOP : at * HOP + FRAME] += windows[:, at]
    return out[:, FRAME : FRAME + count]


def wah(s: Sound, low: float, high: float, width: float, hertz: float) -> Sound:
    """A filter some octaves wide that opens and closes, or at 0 hertz travels once."""
    t = np.arange(s.shape[1]) / RATE
    opened = 0.5 - 0.5 * np.cos(2 * np.pi * hertz * t) if hertz else t / t[-1]
    frames, f = spectrum(s), np.maximum(np.fft.rfftfreq(FRAME, 1 / RATE), 1)
    at = np.clip(np.arange(frames.shape[1]) * HOP - FRAME // 2, 0, len(t) - 1)
    centre = low * (high / low) ** opened[at, np.newaxis]
    kept = 0.02 + np.exp(-3 * (np.log2(f / centre) / width) ** 2)
    return unspectrum(frames * kept, len(t))


def pan(s: Sound, start: float, end: float) -> Sound:
    """From the left (-1) to the right (1)."""
    where = np.linspace(start, end, s.shape[1])
    return s * np.sqrt(np.array([1 - where, 1 + where]) / 2)


def crowd(s: Sound, people: float, spread: float) -> Sound:
    """Many at once, each with a voice, a place and a moment of their own."""
    parts = []
    for pitch, where, late in np.random.default_rng(int(people)).uniform(-1, 1, (int(people), 3)):
        who = affected(s, "speed", str(2 ** (pitch / 4)))
        parts.append((round((late + 1) / 2 * spread * RATE), pan(who, where, where)))
    return mixed(parts)


SOURCES: dict[str, Callable[[list[str], float], Sound]] = {"gm": gm, "tone": tone, "say": say}
EFFECTS: dict[str, Callable[..., Sound]] = {"wah": wah, "pan": pan, "crowd": crowd}


def affected(sound: Sound, effect: str, *numbers: str) -> Sound:
    """What our effect makes of it, or sox's, which gets time to ring out."""
    sound = sound / np.abs(sound).max()
    if effect in EFFECTS:
        return EFFECTS[effect](sound, *map(float, numbers))
    tail = ["pad", "0", "2"] if effect in {"reverb", "echo", "echos"} else []
    told = pcm(sound / 2)
    return stereo(run("sox", *RAW, "-", *RAW, "-", *tail, effect, *numbers, told=told).stdout)


def mixed(parts: list[tuple[int, Sound]]) -> Sound:
    out = np.zeros((2, max(at + part.shape[1] for at, part in parts)))
    for at, part in parts:
        out[:, at : at + part.shape[1]] += part
    return out


def rendered(layers: str, beat: float) -> Sound:
    """The layers laid over one another."""
    parts: list[tuple[int, Sound]] = []
    for layer in layers.split(";"):
        played, *effects = (part.split() for part in layer.split("|"))
        at, gain, source, *words = played or ["0", "1", ""]
        sound = SOURCES[source](words, beat) if source else mixed(parts)
        parts = parts if source else []
        for effect in effects:
            sound = affected(sound, *effect)
        parts.append((round(float(at) * beat * RATE), sound / np.abs(sound).max() * float(gain)))
    return mixed(parts)


def mastered(sound: Sound, longest: float) -> Sound:
    """Trimmed, faded, as loud as LOUDNESS, its peaks pressed below 1."""
    heard = np.flatnonzero(np.abs(sound).max(axis=0) > 0.004 * np.abs(sound).max())
    end = min(heard[-1], heard[0] + round(longest * RATE))
    sound = sound[:, heard[0] : end] / np.abs(sound).max()
    left = np.arange(sound.shape[1])[::-1] / RATE / (longest / 6 if end < heard[-1] else 0.08)
    sound = out = sound * np.minimum(left, 1) ** 1.5
    gain = 1.0
    for _ in range(8):
        high = np.maximum(np.abs(sound * gain) - KNEE, 0)
        out = np.clip(sound * gain, -KNEE, KNEE) + np.sign(sound) * ROOF * np.tanh(high / ROOF)
        measured = run("ffmpeg", *PCM, "-af", "ebur128", "-f", "null", "-", told=pcm(out)).stderr
        gain *= 10 ** ((LOUDNESS - float(re.findall(rb"I: +(-[\d.]+)", measured)[-1])) / 20)
    return out


def pcm(sound: Sound) -> bytes:
    return sound.T.astype("<f4").tobytes()


def stereo(data: bytes) -> Sound:
    return np.frombuffer(data, "<f4").astype(np.float64).reshape(-1, 2).T


def run(*command: str, told: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, input=told, check=True, capture_output=True)  # noqa: S603 - ours


def main() -> None:
    """Renders the sounds named on the command line, or all."""
    parser = argparse.ArgumentParser(description="Renders Campfire's sounds.")
    parser.add_argument("--into", type=Path, default=Path(__file__).parent)
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    for name, tempo, longest, layers in SOUND.findall(SCORES):
        if not options.names or name in options.names:
            sound = mastered(rendered(layers, 60 / float(tempo)), float(longest))
            tags = ["-metadata", f"title={name}", "-metadata", "album=Campfire"]
            file = str(options.into / f"{name}.mp3")
            run("ffmpeg", *PCM, *tags, "-b:a", BITS, "-y", file, told=pcm(sound))
            sys.stdout.write(f"{name} {sound.shape[1] / RATE:.1f} s\n")


if __name__ == "__main__":
    main()
